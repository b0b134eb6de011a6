/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Runs a fuzz target over its seeds, over each beginning of them, and over a fixed number of
 * mutations from a fixed start, so that a failure can be had again. Prints TAP. NIXSTORE_FUZZ_RUNS
 * sets the number of mutations, NIXSTORE_FUZZ_START where the random numbers start.
 */
#include "config.h"

#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RUNS 20000
#define MAX_CUTS 2000

static guint64 random_state;

/* SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators). */
static guint64
random_next(void)
{
  guint64 z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static gsize
random_below(gsize limit)
{
  return limit > 0 ? (gsize)(random_next() % limit) : 0;
}

/* The input in a block of its own size, so that a sanitizer sees one byte too many. */
static void
run(const void *data, gsize size)
{
  guint8 *copy = malloc(size ? size : 1);
  memcpy(copy, data, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

static void
mutate_bytes(GByteArray *input)
{
  static const guint8 interesting[] = {0, 1, 0x7f, 0x80, 0xff, ' ', '\n', '"', '/', '.', '\\', '-'};
  gsize at = random_below(input->len);
  switch (random_below(4)) {
  case 0:
    input->data[at] ^= (guint8)(1 << random_below(8));
    break;
  case 1:
    input->data[at] = (guint8)random_next();
    break;
  case 2:
    input->data[at] = (guint8)(input->data[at] + (random_below(2) ? 1 : -1));
    break;
  default:
    input->data[at] = interesting[random_below(G_N_ELEMENTS(interesting))];
  }
}

static void
mutate_ranges(GByteArray *input)
{
  const FuzzSeed *other = &fuzz_seeds[random_below(fuzz_n_seeds)];
  gsize at = random_below(input->len);
  gsize size = 1 + random_below(MIN(input->len - at, 64));
  switch (random_below(4)) {
  case 0:
    g_byte_array_remove_range(input, (guint)at, (guint)size);
    break;
  case 1: { /* double it */
    g_autofree guint8 *copy = g_memdup2(input->data + at, size);
    g_byte_array_append(input, copy, (guint)size);
    break;
  }
  case 2: /* the end of another seed */
    g_byte_array_set_size(input, (guint)at);
    at = random_below(other->size);
    g_byte_array_append(input, (const guint8 *)other->data + at, (guint)(other->size - at));
    break;
  default:
    memset(input->data + at, (int)random_below(256), size);
  }
}

static void
run_mutation(void)
{
  const FuzzSeed *seed = &fuzz_seeds[random_below(fuzz_n_seeds)];
  g_autoptr(GByteArray) input = g_byte_array_new();
  g_byte_array_append(input, seed->data, (guint)seed->size);
  for (gsize i = 1 + random_below(6); i > 0 && input->len > 0; i--) {
    if (random_below(3) > 0)
      mutate_bytes(input);
    else
      mutate_ranges(input);
  }
  run(input->data, input->len);
}

static guint64
number_from_environment(const char *name, guint64 otherwise)
{
  const char *text = g_getenv(name);
  return text ? g_ascii_strtoull(text, NULL, 0) : otherwise;
}

int
main(int argc, char **argv)
{
  guint64 runs = number_from_environment("NIXSTORE_FUZZ_RUNS", DEFAULT_RUNS);
  random_state = number_from_environment("NIXSTORE_FUZZ_START", 1);
  /* A file given by name is run alone: an input that libFuzzer found. */
  for (int i = 1; i < argc; i++) {
    g_autofree char *data = NULL;
    gsize size;
    if (!g_file_get_contents(argv[i], &data, &size, NULL))
      return 1;
    run(data, size);
  }
  if (argc > 1)
    return 0;
  printf("1..3\n");
  for (gsize i = 0; i < fuzz_n_seeds; i++)
    run(fuzz_seeds[i].data, fuzz_seeds[i].size);
  printf("ok 1 - %zu seeds\n", fuzz_n_seeds);
  for (gsize i = 0; i < fuzz_n_seeds; i++) {
    gsize step = fuzz_seeds[i].size / MAX_CUTS + 1;
    for (gsize size = 0; size < fuzz_seeds[i].size; size += step)
      run(fuzz_seeds[i].data, size);
  }
  printf("ok 2 - the beginnings of each\n");
  for (guint64 i = 0; i < runs; i++)
    run_mutation();
  printf("ok 3 - %" G_GUINT64_FORMAT " mutations\n", runs);
  return 0;
}
