/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libFuzzer target of the index reader; the checksum is made right, or nothing beyond it would ever
 * be reached. Start it on a corpus made by `test/fuzz/make-should-fail DIR`.
 */
#include "config.h"

#include "fuzz.h"
#include "index-exercise.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autofree guint8 *image = g_memdup2(data, size);

  index_exercise_fix_checksum(image, size);
  index_exercise(image, size);
  return 0;
}
