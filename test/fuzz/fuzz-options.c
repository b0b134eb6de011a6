/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuzz.h"
#include "idmap.h"
#include "options.h"

#include <string.h>

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("lowerdir=/h/l/A:/h/l/B,upperdir=/h/1/diff,workdir=/h/1/work,,volatile"),
    FUZZ_SEED("lowerdir=/a\\:b:/c,context=\"u:r:t:s0:c1,c2\",private"),
    FUZZ_SEED("lowerdir=/a,uidmapping=:0:100000:1000:1000:300000:5,gidmapping=:0:200000:65536"),
    FUZZ_SEED("nodev,ro,rw,lowerdir=\"/a"),
    FUZZ_SEED("lowerdir=\\"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

static void
check_ranges(const GArray *ranges)
{
  for (guint i = 0; ranges && i < ranges->len; i++) {
    const IdRange *range = &g_array_index(ranges, IdRange, i);
    g_assert(range->size > 0);
    g_assert((guint64)range->container + range->size <= G_MAXUINT32);
    g_assert((guint64)range->host + range->size <= G_MAXUINT32);
  }
}

/* What is accepted keeps the promises of options.h. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autofree char *text = g_strndup((const char *)data, size);
  g_autoptr(GError) error = NULL;
  g_autoptr(MountOptions) options = options_parse(text, &error);

  g_assert((options == NULL) == (error != NULL));
  if (!options) {
    g_assert(!strchr(error->message, '\n'));
    return 0;
  }
  g_assert(options->lowers[0] && g_strv_length(options->lowers) <= OPTIONS_MAX_LOWERS);
  g_assert(!options->upper == !options->work && !options->uids == !options->gids);
  check_ranges(options->uids);
  check_ranges(options->gids);
  return 0;
}
