// A policy in C: it waits for long when a node is silent, and not at all when a node is refused.
//
// It shows that a policy can be written in any language that has bindings to WIT. What it exports is declared in
// bindings/policy.h, which `baton policy bindings detection` writes.
//
// Nothing is ever freed: every call runs in a fresh sandbox, which is thrown away as a whole.

#include <stdlib.h>
#include <string.h>

#include "bindings/policy.h"

#define SILENCE_MISSES_NAME "silence_misses"
#define SILENCE_MISSES_DEFAULT 100
#define SILENCE_MISSES_DEFAULT_TEXT "100"
#define SILENCE_MISSES_MAX 1000000
// A node whose ping took at most so many intervals is heard: a slow answer is still an answer.
#define HEARD_MISSES_MAX 2
#define REASON_BYTES_MAX 128

#define CONNECTION_LOST EXPORTS_BATON_POLICY_DETECTION_MARKS_CONNECTION_LOST
#define FAILED EXPORTS_BATON_POLICY_DETECTION_MARKS_FAILED
#define IN_MAINTENANCE EXPORTS_BATON_POLICY_DETECTION_MARKS_IN_MAINTENANCE

typedef baton_policy_types_health_t health_t;
typedef exports_baton_policy_detection_marks_t marks_t;
typedef exports_baton_policy_detection_nodes_t nodes_t;

static policy_string_t text(const char *words) {
    policy_string_t made;
    policy_string_dup(&made, words);
    return made;
}

static bool is_named(policy_string_t name, const char *known) {
    return name.len == strlen(known) && memcmp(name.ptr, known, name.len) == 0;
}

// A whole number from 1 to SILENCE_MISSES_MAX, or 0 if it is none.
static uint32_t number(policy_string_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return 0;
        value = value * 10 + (digits.ptr[i] - '0');
        if (value > SILENCE_MISSES_MAX) return 0;
    }
    return value;
}

static uint32_t silence_misses(baton_policy_types_settings_t *settings) {
    for (size_t i = 0; i < settings->len; i++) {
        uint32_t value = number(settings->ptr[i].f1);
        if (is_named(settings->ptr[i].f0, SILENCE_MISSES_NAME) && value > 0) return value;
    }
    return SILENCE_MISSES_DEFAULT;
}

// ---- the manifest

void exports_baton_policy_manifest_describe(exports_baton_policy_manifest_description_t *ret) {
    exports_baton_policy_manifest_setting_t *setting = malloc(sizeof *setting);
    setting->name = text(SILENCE_MISSES_NAME);
    setting->default_ = text(SILENCE_MISSES_DEFAULT_TEXT);
    setting->doc = text("Missed pings after which a silent node has failed; at half of it the node is suspect.");
    ret->name = text("patient-c");
    ret->version = text("1");
    ret->settings.ptr = setting;
    ret->settings.len = 1;
}

bool exports_baton_policy_manifest_check(exports_baton_policy_manifest_settings_t *settings, policy_string_t *err) {
    for (size_t i = 0; i < settings->len; i++) {
        if (is_named(settings->ptr[i].f0, SILENCE_MISSES_NAME) && number(settings->ptr[i].f1) == 0) {
            *err = text(SILENCE_MISSES_NAME " is a whole number from 1 to 1000000");
            return false;
        }
    }
    return true;
}

// ---- detection

// Words and a number at the end of a reason.
static void say(char *reason, uint32_t count, const char *words) {
    char digits[10];
    size_t used = 0, at = strlen(reason);
    do {
        digits[used++] = '0' + count % 10;
        count /= 10;
    } while (count > 0);
    while (used > 0 && at + 1 < REASON_BYTES_MAX) reason[at++] = digits[--used];
    for (size_t i = 0; words[i] != 0 && at + 1 < REASON_BYTES_MAX; i++) reason[at++] = words[i];
    reason[at] = 0;
}

// A failed node stays failed until it is heard, and one under maintenance does not fail.
static health_t settle(const nodes_t *nodes, size_t i, health_t counted) {
    marks_t marks = nodes->marks.ptr[i];
    if (marks & FAILED) {
        bool is_heard = nodes->misses.ptr[i] <= HEARD_MISSES_MAX && nodes->refusals.ptr[i] == 0 &&
                        nodes->timeouts.ptr[i] == 0 && !(marks & CONNECTION_LOST);
        return is_heard ? counted : BATON_POLICY_TYPES_HEALTH_FAILED;
    }
    if ((marks & IN_MAINTENANCE) && counted == BATON_POLICY_TYPES_HEALTH_FAILED) {
        return BATON_POLICY_TYPES_HEALTH_SUSPECT;
    }
    return counted;
}

static health_t judge(const nodes_t *nodes, size_t i, uint32_t limit) {
    uint32_t misses = nodes->misses.ptr[i];
    bool is_lost = nodes->marks.ptr[i] & CONNECTION_LOST, is_refused = nodes->refusals.ptr[i] > 0;
    if (misses >= limit || (is_lost && is_refused)) return BATON_POLICY_TYPES_HEALTH_FAILED;
    if (misses >= limit - limit / 2 || is_refused || is_lost) return BATON_POLICY_TYPES_HEALTH_SUSPECT;
    return BATON_POLICY_TYPES_HEALTH_HEALTHY;
}

static policy_string_t why(const nodes_t *nodes, size_t i, uint32_t limit) {
    char reason[REASON_BYTES_MAX] = "";
    say(reason, nodes->misses.ptr[i], " of ");
    say(reason, limit, " misses, ");
    say(reason, nodes->refusals.ptr[i], " refusals");
    return text(reason);
}

void exports_baton_policy_detection_decide(
    exports_baton_policy_detection_input_t *input, exports_baton_policy_detection_verdicts_t *ret) {
    const nodes_t *nodes = &input->nodes;
    size_t count = nodes->node.len;
    uint32_t limit = silence_misses(&input->settings);
    memset(ret, 0, sizeof *ret);
    ret->node.len = ret->health.len = ret->reason.len = ret->reasons.len = count;
    ret->node.ptr = nodes->node.ptr;
    ret->health.ptr = malloc(count * sizeof *ret->health.ptr);
    ret->reason.ptr = malloc(count * sizeof *ret->reason.ptr);
    ret->reasons.ptr = malloc(count * sizeof *ret->reasons.ptr);
    for (size_t i = 0; i < count; i++) {
        ret->health.ptr[i] = settle(nodes, i, judge(nodes, i, limit));
        ret->reason.ptr[i] = i;
        ret->reasons.ptr[i] = why(nodes, i, limit);
    }
}
