/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "manifest-escape.h"

#include <string.h>

/* What stands for itself may still be special to readers of mtree files: mtree(5) takes '#' for a
 * comment, and go-mtree and bsdtar undo vis(3), which escapes the glob characters. */
static gboolean
byte_is_plain(guchar c)
{
  return c > ' ' && c < 0x7f && c != '\\' && c != '#' && c != '=' && c != '*' && c != '?' &&
         c != '[' && c != ']';
}

void
manifest_append_escaped(GString *out, const char *text, gsize size)
{
  gsize i = 0;

  while (i < size) {
    gsize start = i;
    char escape[4];
    guchar c;

    while (i < size && byte_is_plain((guchar)text[i]))
      i++;
    if (i > start)
      g_string_append_len(out, text + start, (gssize)(i - start));
    if (i == size)
      break;
    c = (guchar)text[i++];
    escape[0] = '\\';
    escape[1] = (char)('0' + (c >> 6));
    escape[2] = (char)('0' + ((c >> 3) & 7));
    escape[3] = (char)('0' + (c & 7));
    g_string_append_len(out, escape, sizeof escape);
  }
}

static gboolean
is_octal(char c, char highest)
{
  return c >= '0' && c <= highest;
}

gssize
manifest_unescape(const char *text, gsize size, char *out)
{
  char *start = out;

  if (memchr(text, '\\', size) == NULL) {
    memcpy(out, text, size);
    return memchr(text, '\0', size) != NULL ? -1 : (gssize)size;
  }
  for (gsize i = 0; i < size; i++) {
    if (text[i] == '\0')
      return -1;
    if (text[i] != '\\') {
      *out++ = text[i];
      continue;
    }
    if (size - i < 4 || !is_octal(text[i + 1], '3') || !is_octal(text[i + 2], '7') ||
        !is_octal(text[i + 3], '7'))
      return -1;
    *out = (char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
    if (*out++ == '\0')
      return -1;
    i += 3;
  }
  return out - start;
}
