/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A fuzz target: LLVMFuzzerTestOneInput() as libFuzzer wants it, and good inputs to start from.
 * With
 * --enable-fuzzers libFuzzer runs it (for ever); in `make check` run.c does, the same inputs each
 * time.
 */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
  const void *data;
  gsize size;
} FuzzSeed;

#define FUZZ_SEED(text)                                                                            \
  {                                                                                                \
    text, sizeof text - 1                                                                          \
  }

/* Inputs to start from, at least one. */
extern const FuzzSeed fuzz_seeds[];
extern const gsize fuzz_n_seeds;
