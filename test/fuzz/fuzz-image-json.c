/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuzz.h"
#include "image.h"

#include <string.h>

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("{\n  \"version\": 1,\n  \"configDigest\": "
              "\"sha256:cae91788520fe3f1c7e35271b192d22b0bbae95806909f7623d8dcca9febfc3b\",\n"
              "  \"manifestDigest\": "
              "\"sha256:556f6a61bc6b860d8fc46452663bdef0a5f646b08d2dd56d9c14eef4646ee43d\"\n}\n"),
    FUZZ_SEED("{\"version\":2}"),
    FUZZ_SEED("[]"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

/* What is accepted is written again as it would be written anew. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autoptr(GError) error = NULL;
  Image image = {.fd = -1, .rootfs_fd = -1};
  gboolean ok = image_parse_json(&image, (const char *)data, size, &error);
  g_assert(ok == (error == NULL));
  g_assert(ok == (image.config_digest != NULL));
  if (ok) {
    Image again = {.fd = -1, .rootfs_fd = -1};
    g_autofree char *text = image_serialise(image.config_digest, image.manifest_digest);
    g_assert(image_parse_json(&again, text, strlen(text), NULL));
    g_assert_cmpstr(again.config_digest, ==, image.config_digest);
    g_assert_cmpstr(again.manifest_digest, ==, image.manifest_digest);
    g_free(again.config_digest);
    g_free(again.manifest_digest);
  }
  g_free(image.config_digest);
  g_free(image.manifest_digest);
  return 0;
}
