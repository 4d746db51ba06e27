// The few functions of a C library that are needed where there is none.
//
// Memory is handed out one piece after the other and never taken back: a call is short, and its sandbox is thrown away.

#include "stdlib.h"
#include "string.h"

#define PAGE 65536
#define ALIGNMENT 16

extern unsigned char __heap_base;
static unsigned char *next;

void abort(void) {
    __builtin_trap();
}

// The size of a piece stands in front of it.
void *malloc(size_t size) {
    if (next == NULL) next = &__heap_base;
    size_t at = ((size_t)next + sizeof(size_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t end = at + size;
    if (end < at) abort();
    size_t have = __builtin_wasm_memory_size(0) * PAGE;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == (size_t)-1) abort();
    ((size_t *)at)[-1] = size;
    next = (unsigned char *)end;
    return (void *)at;
}

void *realloc(void *old, size_t size) {
    void *made = malloc(size);
    if (old != NULL) {
        size_t had = ((size_t *)old)[-1];
        memcpy(made, old, had < size ? had : size);
    }
    return made;
}

void free(void *old) {
    (void)old;
}

void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

void *memset(void *to, int byte, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned char *)to)[i] = (unsigned char)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t count) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < count; i++) {
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}
