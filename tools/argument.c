/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "argument.h"
#include "command.h"
#include "store.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

#define TAG_MAX 128
#define NAME_MAX_SIZE 255
#define LOWER_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"

char *
argument_store_path(const char *argument, GError **error)
{
  g_autoptr(GError) local = NULL;
  if (store_path_check(argument, &local))
    return g_strdup(argument);
  char *found = realpath(argument, NULL);
  gboolean ok = found && store_path_check(found, NULL);
  g_autofree char *path = ok ? g_strdup(found) : NULL;
  free(found);
  if (!ok)
    g_propagate_error(error, g_steal_pointer(&local));
  return g_steal_pointer(&path);
}

/* One part between slashes: lower-case letters and digits, joined by '.', '_', '__' or dashes. */
static gboolean
component_is_valid(const char *text)
{
  for (;;) {
    gsize run = strspn(text, LOWER_DIGITS);
    if (run == 0)
      return FALSE;
    text += run;
    if (*text == '\0')
      return TRUE;
    if (*text == '-')
      text += strspn(text, "-");
    else if (*text == '.')
      text++;
    else if (*text == '_')
      text += text[1] == '_' ? 2 : 1;
    else
      return FALSE;
  }
}

static gboolean
tag_is_valid(const char *tag)
{
  gsize size = strlen(tag);
  if (size < 1 || size > TAG_MAX || *tag == '.' || *tag == '-')
    return FALSE;
  for (const char *c = tag; *c; c++)
    if (!g_ascii_isalnum(*c) && !strchr("_.-", *c))
      return FALSE;
  return TRUE;
}

/* The registry: a host name or address, perhaps with a port. */
static gboolean
domain_is_valid(const char *domain)
{
  for (const char *c = domain; *c; c++)
    if (!g_ascii_isalnum(*c) && !strchr(".-:[]", *c))
      return FALSE;
  return *domain != '\0';
}

static gboolean
first_part_is_domain(const char *part)
{
  return strcmp(part, "localhost") == 0 || strpbrk(part, ".:") != NULL;
}

/* The grammar of github.com/distribution/reference, which Podman follows. */
char *
argument_image_name(const char *argument, GError **error)
{
  g_autofree char *name = g_strdup(argument);
  const char *tag = "latest";
  char *colon = strrchr(name, ':');
  if (colon && !strchr(colon, '/')) {
    *colon = '\0';
    tag = colon + 1;
  }
  g_auto(GStrv) parts = g_strsplit(name, "/", -1);
  gboolean domain = parts[0] && parts[1] && first_part_is_domain(parts[0]);
  gboolean ok = parts[0] && tag_is_valid(tag) && strlen(name) <= NAME_MAX_SIZE &&
                (!domain || domain_is_valid(parts[0]));
  for (char **part = parts + (domain ? 1 : 0); ok && *part; part++)
    ok = component_is_valid(*part);
  if (!ok) {
    command_error_usage(error,
                        "`%s' is no name for an image: lower-case letters, digits and ._-, "
                        "as in debian:12 or localhost/team/web:latest",
                        argument);
    return NULL;
  }
  return g_strconcat(domain ? "" : "localhost/", name, ":", tag, NULL);
}

char *
argument_default_name(const char *store_path)
{
  const char *base = strrchr(store_path, '/') + 1;
  const char *dash = strchr(base, '-');
  g_autofree char *name = g_ascii_strdown(dash ? dash + 1 : base, -1);
  /* What the grammar does not allow becomes a dash; separators only between letters and digits. */
  GString *out = g_string_new("localhost/");
  gboolean separate = FALSE;
  gsize start = out->len;
  for (const char *c = name; *c; c++) {
    gboolean letter = strchr(LOWER_DIGITS, *c) != NULL;
    if (letter && separate && out->len > start)
      g_string_append_c(out, c[-1] == '.' || c[-1] == '_' ? c[-1] : '-');
    if (letter)
      g_string_append_c(out, *c);
    separate = !letter;
  }
  if (out->len == start)
    g_string_append(out, "image");
  g_string_append(out, ":latest");
  return g_string_free(out, FALSE);
}
