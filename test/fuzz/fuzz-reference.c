/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuzz.h"
#include "reference.h"
#include "store.h"

#include <string.h>

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("{\n  \"version\": 1,\n"
              "  \"storePath\": \"/nix/store/zv6md1b1w3g95w91bx7nra2amqm6ybb9-hello\",\n"
              "  \"narHash\": \"sha256:1xfa6r5im7qkxyahlf1qjplx6mxhqyzmqsbzpypfs6hqcyyd3irv\",\n"
              "  \"manifestDigest\": "
              "\"sha256:556f6a61bc6b860d8fc46452663bdef0a5f646b08d2dd56d9c14eef4646ee43d\"\n}\n"),
    FUZZ_SEED("{\"version\":1,\"storePath\":\"/nix/store/../../etc\",\"narHash\":\"sha256:\","
              "\"manifestDigest\":[]}"),
    FUZZ_SEED("{\"version\":18446744073709551616}"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

/* What is accepted is a store path and survives being written and read again. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Reference) reference = reference_parse((const char *)data, size, &error);
  g_assert((reference == NULL) == (error != NULL));
  if (!reference)
    return 0;
  g_assert(store_path_check(reference->store_path, NULL));
  g_autofree char *text = reference_serialise(reference);
  g_autoptr(Reference) again = reference_parse(text, strlen(text), NULL);
  g_assert(again && strcmp(again->store_path, reference->store_path) == 0 &&
           strcmp(again->nar_hash, reference->nar_hash) == 0 &&
           strcmp(again->manifest_digest, reference->manifest_digest) == 0);
  return 0;
}
