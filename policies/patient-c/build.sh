#!/bin/sh
# Builds patient-c.wasm with clang and wasm-ld (Debian: clang lld), and `baton` in the PATH.
set -e
cd "$(dirname "$0")"
baton policy bindings detection --out bindings
clang --target=wasm32 -O2 -std=c11 -Wall -Wextra -ffreestanding -fno-builtin -nostdlib -isystem libc -I. \
    -Wl,--no-entry -Wl,-zstack-size=65536 -Wl,--strip-debug \
    -o bindings/core.wasm patient.c libc/libc.c bindings/policy.c bindings/policy_component_type.o
baton policy component bindings/core.wasm --out patient-c.wasm
