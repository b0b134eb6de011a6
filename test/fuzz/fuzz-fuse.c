/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The FUSE server's handlers, without a kernel: the input is a script of messages, sent to a
 * session of libfuse as they come from /dev/fuse. What the kernel promises is kept (a message has
 * the form that its opcode wants, a name ends with a NUL); node IDs, offsets, sizes, names and
 * flags are anything, and the index is one of the broken ones, or gets bytes of its own:
 *
 *   i NUMBER [OFFSET=BYTE...]   the index: 0 good, else from the corpus; with bytes changed
 *   m | e | K                   ids are mapped | the server is one that only fails | it was killed
 *   OPCODE NODE A B NAME        A and B: the message's numbers, as its opcode has them; NODE @3:
 * the third inode of the good index c NUMBER                    closes one of the files that were
 * opened
 *
 * Every answer is checked, as is what the kernel wants of passthrough: one registered file for an
 * inode as long as it is open, and registered for so long.
 */
#include "config.h"

#include "fuzz.h"
#include "index-exercise.h"
#include "index-mutations.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../unit/tree-fixture.h"
#include "index-read.h"
#include "protocol.h"
#include "serve.h"
#include "util.h"

#define MAX_LINES 200
#define MAX_OPEN 64
/* As large as the kernel's reads are (CHANNEL_MAX_PAGES). */
#define MAX_READ (1 << 20)

const FuzzSeed fuzz_seeds[] = {
    FUZZ_SEED("i 0\n1 1 0 0 dir\n3 1 0 0\n28 1 0 4096\n44 1 0 4096\n44 @2 12 100\n17 1 0 0\n"
              "14 @7 0 0\n15 @7 0 131072\n15 @8 65536 4096\nc 0\n5 @13 0 0\n5 @14 0 0\n"
              "15 @18 0 131072\n15 @19 0 131072\n46 @7 0 3\n46 @8 0 4\n46 @21 0 3\n"),
    FUZZ_SEED("i 0\nm\n14 @18 0 0\n14 @18 0 0\nK\n14 @18 0 0\nc 0\nc 0\n14 @21 0 0\nK\n"
              "14 @21 0 0\nc 1\n14 @10 0 0\n14 @2 0 0\n15 @16 0 200000\n"),
    FUZZ_SEED("i 0\nm\n23 @21 1000 0\n23 @21 0 0\n22 @22 0 0 system.posix_acl_access\n"
              "22 @22 200 0 system.posix_acl_access\n22 @24 200 0 security.capability\n"
              "22 @25 64 0 trusted.overlay.overlay.opaque\n22 @21 64 0 user.overlay.metacopy\n"
              "22 @26 2 0 user.empty\n"),
    FUZZ_SEED(
        "i 30\n28 @1 0 4096\n44 @2 0 65536\n1 @2 0 0 shadow\n1 @1 0 0 .\n5 @13 0 0\n15 @8 5 5\n"),
    FUZZ_SEED("i 55\n23 @21 65536 0\n22 @21 65536 0 user.x\n15 @21 0 100\n14 @21 0 0\n3 7777 0 0\n"
              "3 18446744073709551615 0 0\n44 1 18446744073709551615 4294967295\n"),
    FUZZ_SEED("i 0 2048=255 5000=7\ne\n3 1 0 0\n2 1 0 0\n42 0 0 0\n36 1 0 0\n12 1 0 0 x\n"
              "16 1 0 0\n27 1 0 0\n29 1 0 0\n39 1 0 0\n25 1 0 0\n34 1 7 0\n20 1 0 0\n4 1 0 0\n"),
};
const gsize fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);

/* ---- the kernel's part of passthrough */

static GHashTable *registered; /* of numbers */
static int last_id;

int
channel_register(const Channel *channel, int fd)
{
  struct stat st;

  g_assert_true(fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
  g_hash_table_add(registered, GINT_TO_POINTER(++last_id));
  return last_id;
}

void
channel_unregister(const Channel *channel, int id)
{
  g_assert_true(g_hash_table_remove(registered, GINT_TO_POINTER(id)));
}

/* ---- what all runs share */

typedef struct {
  guint64 node;
  int id; /* 0: not passed through */
} OpenFile;

static struct {
  char *directory;
  Data *data;
  GPtrArray *images; /* of GByteArray; made when first wanted */
  GArray *nodes;     /* of guint64 */
  Channel channel;
  Server server;
  Worker *worker;
  int answers; /* a file that the answers are written to */
  guint64 unique;
  OpenFile files[MAX_OPEN];
  guint n_files;
} fuzz;

static GByteArray *
fuzz_image(guint number)
{
  number %= index_mutation_count() + 2;
  if (fuzz.images->pdata[number] == NULL)
    fuzz.images->pdata[number] = number == 0   ? index_mutation_good()
                                 : number == 1 ? index_mutation_loop()
                                               : index_mutation_make(number - 2);
  return fuzz.images->pdata[number];
}

static gboolean
note_node(void *data, const char *name, gsize name_size, guint64 nid, unsigned type, guint64 next)
{
  guint64 node = nid + 2;

  for (guint i = 0; i < fuzz.nodes->len; i++)
    if (g_array_index(fuzz.nodes, guint64, i) == node)
      return TRUE;
  g_array_append_val(fuzz.nodes, node);
  return TRUE;
}

static void
find_nodes(void)
{
  const GByteArray *image = fuzz_image(0);
  const Index index = {.map = image->data, .size = image->len};
  Index good = index;

  g_assert_true(index_read_super(&good, NULL));
  index_readdir(&good, index_root_nid(&good), 0, note_node, NULL);
  for (guint i = 0, n = fuzz.nodes->len; i < n; i++)
    index_readdir(&good, g_array_index(fuzz.nodes, guint64, i) - 2, 0, note_node, NULL);
}

static void
fuzz_end(void)
{
  serve_worker_free(fuzz.worker);
  data_close(fuzz.data);
  util_remove_tree(AT_FDCWD, fuzz.directory, NULL);
  g_free(fuzz.directory);
  g_ptr_array_unref(fuzz.images);
  g_array_unref(fuzz.nodes);
  g_hash_table_unref(registered);
  g_array_unref(fuzz.server.ids.uids);
}

static void
free_image(void *image)
{
  if (image)
    g_byte_array_unref(image);
}

static void
fuzz_begin(void)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(Tree) tree = fixture_full();
  const char *paths[] = {NULL, NULL};

  registered = g_hash_table_new(NULL, NULL);
  fuzz.images = g_ptr_array_new_with_free_func(free_image);
  g_ptr_array_set_size(fuzz.images, (gint)index_mutation_count() + 2);
  fuzz.nodes = g_array_new(FALSE, FALSE, sizeof(guint64));
  find_nodes();
  paths[0] = fuzz.directory = g_dir_make_tmp("nixstore-fuzz-XXXXXX", &error);
  g_assert_no_error(error);
  autofd int fd = open(fuzz.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fixture_make_rootfs(tree, fd);
  fuzz.data = data_open(paths, &error);
  g_assert_no_error(error);
  fuzz.channel = (Channel){.device = -1, .minor = 38, .can_pass = TRUE};
  fuzz.answers = memfd_create("answers", MFD_CLOEXEC);
  fuzz.server.data = fuzz.data;
  fuzz.worker = serve_worker_new(&fuzz.server, &fuzz.channel, fuzz.answers, &error);
  g_assert_no_error(error);
  /* libfuse's answer to our greeting. */
  g_assert_true(ftruncate(fuzz.answers, 0) == 0 && lseek(fuzz.answers, 0, SEEK_SET) == 0);
  g_assert_true(idmap_parse("0:100000:1000:1000:5:7:65534:90:1", &fuzz.server.ids.uids, NULL));
  ids_sort(fuzz.server.ids.uids);
  atexit(fuzz_end);
}

/* ---- messages */

typedef struct {
  struct fuse_in_header header;
  char body[128];
} Message;

/* Puts @a and @b where the message of @opcode has them; returns the size of its fixed part. */
static gsize
fill_body(char *body, guint32 opcode, guint64 a, guint64 b)
{
  const guint32 size = opcode == FUSE_READ ? (guint32)(b % (MAX_READ + 1)) : (guint32)b;
  struct fuse_read_in read_in = {.fh = 1, .offset = a, .size = size};
  struct fuse_getxattr_in xattr_in = {.size = (guint32)a};
  struct fuse_lseek_in lseek_in = {.offset = a, .whence = size};
  struct fuse_open_in open_in = {.flags = (guint32)a};

  switch (opcode) {
  case FUSE_LOOKUP:
  case FUSE_UNLINK:
  case FUSE_RMDIR:
  case FUSE_REMOVEXATTR:
  case FUSE_SYMLINK:
    return 0;
  case FUSE_READ:
  case FUSE_READDIR:
  case FUSE_READDIRPLUS:
    memcpy(body, &read_in, sizeof read_in);
    return sizeof read_in;
  case FUSE_GETXATTR:
  case FUSE_LISTXATTR:
    memcpy(body, &xattr_in, sizeof xattr_in);
    return sizeof xattr_in;
  case FUSE_LSEEK:
    memcpy(body, &lseek_in, sizeof lseek_in);
    return sizeof lseek_in;
  case FUSE_OPEN:
  case FUSE_OPENDIR:
    memcpy(body, &open_in, sizeof open_in);
    return sizeof open_in;
  default: /* not ours, and at most so large */
    return 96;
  }
}

static guint64
parse_node(const char *text)
{
  if (*text == '@')
    return g_array_index(fuzz.nodes, guint64,
                         g_ascii_strtoull(text + 1, NULL, 0) % fuzz.nodes->len);
  return g_ascii_strtoull(text, NULL, 0);
}

/* The file that OPEN was answered with. */
static void
note_open(guint64 node, const ProtocolOpenOut *open_out)
{
  OpenFile *file = &fuzz.files[fuzz.n_files];
  gboolean passed = (open_out->open_flags & PROTOCOL_OPEN_PASSTHROUGH) != 0;

  g_assert_cmpuint(open_out->fh, ==, passed);
  *file = (OpenFile){.node = node, .id = passed ? open_out->backing_id : 0};
  for (guint i = 0; i < fuzz.n_files; i++)
    if (fuzz.files[i].node == node)
      g_assert_cmpint(fuzz.files[i].id, ==, file->id);
  fuzz.n_files++;
}

static void
check_answer(const Message *message, gsize wanted)
{
  static char answer[MAX_READ + 4096];
  const struct fuse_out_header *out = (const void *)answer;
  gsize size = (gsize)lseek(fuzz.answers, 0, SEEK_END);

  g_assert_cmpuint(size, <=, sizeof answer);
  g_assert_cmpint(pread(fuzz.answers, answer, size, 0), ==, size);
  g_assert_cmpint(ftruncate(fuzz.answers, 0), ==, 0);
  lseek(fuzz.answers, 0, SEEK_SET);
  if (message->header.opcode == FUSE_FORGET || message->header.opcode == FUSE_BATCH_FORGET ||
      message->header.opcode == FUSE_INTERRUPT) {
    g_assert_cmpuint(size, ==, 0);
    return;
  }
  if (size < sizeof *out)
    g_error("no answer to opcode %u", message->header.opcode);
  g_assert_cmpuint(out->len, ==, size);
  g_assert_cmpuint(out->unique, ==, message->header.unique);
  g_assert_true(out->error <= 0 && out->error > -512);
  if (out->error != 0)
    g_assert_cmpuint(size, ==, sizeof *out);
  else if (wanted != G_MAXSIZE)
    g_assert_cmpuint(size - sizeof *out, <=, wanted);
  if (out->error == 0 && message->header.opcode == FUSE_OPEN)
    note_open(message->header.nodeid, (const void *)(out + 1));
}

static void
send_message(guint32 opcode, guint64 node, guint64 a, guint64 b, const char *name)
{
  g_autofree Message *message = g_malloc0(sizeof *message + NAME_MAX + 2);
  gsize size = sizeof message->header + fill_body(message->body, opcode, a, b);
  gsize wanted =
      opcode == FUSE_READ || opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS ? (guint32)b
      : (opcode == FUSE_GETXATTR || opcode == FUSE_LISTXATTR) && (guint32)a > 0   ? (guint32)a
                                                                                  : G_MAXSIZE;

  /* The kernel greets once, says good-bye when all is over, and replies to what was asked. */
  if (opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_NOTIFY_REPLY ||
      opcode == FUSE_RELEASE || (opcode == FUSE_OPEN && fuzz.n_files == MAX_OPEN))
    return;
  g_strlcpy((char *)message + size, name ? name : "", NAME_MAX + 2);
  size += strlen((char *)message + size) + 1;
  message->header = (struct fuse_in_header){
      .len = (guint32)size, .opcode = opcode, .unique = ++fuzz.unique, .nodeid = node};
  /* A block of its own size, for the sanitizer. */
  g_autofree void *exact = g_memdup2(message, size);
  serve_worker_answer(fuzz.worker, exact, size);
  check_answer(message, wanted);
}

static void
close_file(guint64 number)
{
  struct {
    struct fuse_in_header header;
    struct fuse_release_in release;
  } message = {.header = {.len = sizeof message, .opcode = FUSE_RELEASE, .unique = ++fuzz.unique}};

  if (fuzz.n_files == 0)
    return;
  OpenFile file = fuzz.files[number % fuzz.n_files];
  fuzz.files[number % fuzz.n_files] = fuzz.files[fuzz.n_files - 1];
  fuzz.n_files--;
  if (file.id)
    g_assert_true(g_hash_table_contains(registered, GINT_TO_POINTER(file.id)));
  message.header.nodeid = file.node;
  message.release.fh = file.id > 0;
  serve_worker_answer(fuzz.worker, &message, sizeof message);
  check_answer((const Message *)(const void *)&message, 0);
}

/* ---- scripts */

static GByteArray *
choose_index(const char *line)
{
  g_auto(GStrv) words = g_strsplit(line, " ", MAX_LINES);
  GByteArray *image = fuzz_image(words[0] ? (guint)g_ascii_strtoull(words[0], NULL, 0) : 0);
  GByteArray *copy = g_byte_array_append(g_byte_array_new(), image->data, image->len);

  for (guint i = 1; copy->len > 0 && words[0] && words[i]; i++) {
    char *end;
    guint64 offset = g_ascii_strtoull(words[i], &end, 0);
    if (*end == '=')
      copy->data[offset % copy->len] = (guint8)g_ascii_strtoull(end + 1, NULL, 0);
  }
  index_exercise_fix_checksum(copy->data, copy->len);
  return copy;
}

static void
run_line(char *line)
{
  char *rest = line;

  if (strcmp(line, "e") == 0)
    fuzz.server.is_broken = TRUE;
  else if (strcmp(line, "K") == 0)
    passthrough_start(fuzz.server.passthrough);
  else if (g_str_has_prefix(line, "c "))
    close_file(g_ascii_strtoull(line + 2, NULL, 0));
  if (!g_ascii_isdigit(*line))
    return;
  guint32 opcode = (guint32)g_ascii_strtoull(line, &rest, 0);
  g_auto(GStrv) fields = g_strsplit(*rest ? rest + 1 : rest, " ", 4);
  if (g_strv_length(fields) >= 3)
    send_message(opcode, parse_node(fields[0]), g_ascii_strtoull(fields[1], NULL, 0),
                 g_ascii_strtoull(fields[2], NULL, 0), fields[3]);
}

static void
run_script(char **lines)
{
  for (guint i = 0; i < MAX_LINES && lines[i]; i++)
    run_line(lines[i]);
  while (fuzz.n_files > 0)
    close_file(0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  g_autofree char *text = g_strndup((const char *)data, size);
  g_auto(GStrv) lines = g_strsplit(text, "\n", MAX_LINES + 1);
  gboolean is_mapped = g_strv_contains((const char *const *)lines, "m");

  if (!fuzz.worker)
    fuzz_begin();
  g_autoptr(GByteArray) image =
      choose_index(lines[0] && g_str_has_prefix(lines[0], "i ") ? lines[0] + 2 : "0");
  Index index = {.map = image->data, .size = image->len};
  if (!index_read_super(&index, NULL))
    return 0;
  g_autoptr(Passthrough) passthrough = passthrough_new(&fuzz.channel, NULL);
  passthrough_start(passthrough);
  fuzz.server.index = &index;
  fuzz.server.passthrough = passthrough;
  fuzz.server.is_broken = FALSE;
  fuzz.server.ids.gids = is_mapped ? fuzz.server.ids.uids : NULL;
  run_script(lines);
  g_hash_table_remove_all(registered);
  return 0;
}
