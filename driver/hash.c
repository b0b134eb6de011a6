/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * SipHash-1-3: J.-P. Aumasson, D. J. Bernstein, SipHash: a fast short-input PRF, 2012; with the
 * rounds that hash tables use elsewhere (Rust, Python).
 */
#include "config.h"

#include "hash.h"

#include <string.h>
#include <sys/random.h>

typedef struct {
  guint64 v[4];
} Sip;

/* The process's own, drawn at the first use. */
static const guint64 *
hash_key(void)
{
  static guint64 key[2];
  static gsize drawn;

  if (g_once_init_enter(&drawn)) {
    /* Early at boot there may be nothing to be had yet: no reason to wait. */
    if (getrandom(key, sizeof key, GRND_NONBLOCK) != sizeof key)
      for (gsize i = 0; i < G_N_ELEMENTS(key); i++)
        key[i] = (guint64)g_random_int() << 32 | g_random_int();
    g_once_init_leave(&drawn, 1);
  }
  return key;
}

static guint64
rotate(guint64 value, int bits)
{
  return value << bits | value >> (64 - bits);
}

static void
sip_round(Sip *sip)
{
  guint64 *v = sip->v;

  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

static void
sip_word(Sip *sip, guint64 word)
{
  sip->v[3] ^= word;
  sip_round(sip);
  sip->v[0] ^= word;
}

guint
hash_bytes(gconstpointer data, gsize size)
{
  const guint64 *key = hash_key();
  const guint8 *bytes = data;
  Sip sip = {{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
              key[1] ^ 0x7465646279746573}};
  guint64 word;
  gsize left;

  for (left = size; left >= sizeof word; left -= sizeof word) {
    memcpy(&word, bytes, sizeof word);
    sip_word(&sip, word);
    bytes += sizeof word;
  }
  word = 0;
  memcpy(&word, bytes, left);
  sip_word(&sip, word ^ (guint64)size << 56);
  sip.v[2] ^= 0xff;
  for (int i = 0; i < 3; i++)
    sip_round(&sip);
  word = sip.v[0] ^ sip.v[1] ^ sip.v[2] ^ sip.v[3];
  return (guint)(word ^ word >> 32);
}

guint
hash_string(gconstpointer text)
{
  return hash_bytes(text, strlen(text));
}
