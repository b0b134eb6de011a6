/* Lists a whole file system, one line a file, for comparing two of them.
 *
 *   listing [-x PATH]... [DIRECTORY]
 *
 * Linked statically, so that it runs inside any container, also in one that
 * holds nothing else.  It walks DIRECTORY (default: /) without crossing into
 * other mounts, and leaves out what Podman itself puts into every container,
 * and every -x PATH.  Lines come sorted by path, byte by byte:
 *
 *   PATH type= mode= uid= gid= mtime=SEC.NSEC nlink= link= size= blocks= dev= rdev= target=
 *   sha256= xattrs=
 *
 * Paths, targets and xattr names are escaped like \012.  nlink is left out of
 * directories (file systems count it differently), and so are size and blocks
 * of everything but regular files.  `link` is the first name of the file in
 * this listing.  dev says whether st_dev is that of the top.  xattr values are
 * in base64.  The top's own mtime is not printed: Podman changes it.  A name
 * that its directory lists but that can't be found (overlayfs does that with
 * whiteouts in directories that it does not merge) has type=missing alone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct entry {
  char *path; /* from the top, with a leading slash */
  struct stat st;
};

static struct entry *entries;
static size_t n_entries, allocated;
static const char *top;
static dev_t top_dev;

/* Podman's own, in every container. */
static const char *const podmans[] = {
    "/proc",         "/sys",
    "/dev",          "/etc/hosts",
    "/etc/hostname", "/etc/resolv.conf",
    "/etc/mtab",     "/run/lock",
    "/run/secrets",  "/run/.containerenv",
    "/.listing",     NULL,
};
static const char **excluded;
static size_t n_excluded;

static void
die(const char *what, const char *path)
{
  fprintf(stderr, "listing: %s `%s`: %s\n", what, path, strerror(errno));
  exit(1);
}

static void *
xrealloc(void *p, size_t size)
{
  p = realloc(p, size);
  if (p == NULL)
    die("allocate for", top);
  return p;
}

static char *
join(const char *a, const char *b)
{
  char *s = xrealloc(NULL, strlen(a) + strlen(b) + 2);
  sprintf(s, "%s%s%s", a, a[0] != '\0' && a[strlen(a) - 1] == '/' ? "" : "/", b);
  return s;
}

static bool
is_excluded(const char *path)
{
  for (size_t i = 0; podmans[i] != NULL; i++)
    if (strcmp(path, podmans[i]) == 0)
      return true;
  for (size_t i = 0; i < n_excluded; i++)
    if (strcmp(path, excluded[i]) == 0)
      return true;
  return false;
}

static void
print_escaped(const char *s, size_t len)
{
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c <= ' ' || c >= 0x7f || c == '\\' || c == '=')
      printf("\\%03o", c);
    else
      putchar(c);
  }
}

static void
print_base64(const unsigned char *data, size_t len)
{
  unsigned char *out = xrealloc(NULL, len / 3 * 4 + 5);
  EVP_EncodeBlock(out, data, (int)len);
  fputs((char *)out, stdout);
  free(out);
}

static int
compare_strings(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
print_xattrs(const char *path)
{
  static char names[1 << 16], value[1 << 16];
  char *sorted[4096];
  size_t n = 0;

  ssize_t len = llistxattr(path, names, sizeof names);
  if (len < 0 && errno != ENOTSUP)
    die("list the xattrs of", path);
  for (char *p = names; len > 0 && p < names + len && n < 4096; p += strlen(p) + 1)
    sorted[n++] = p;
  qsort(sorted, n, sizeof *sorted, compare_strings);
  for (size_t i = 0; i < n; i++) {
    ssize_t size = lgetxattr(path, sorted[i], value, sizeof value);
    if (size < 0)
      die("read an xattr of", path);
    fputs(i > 0 ? "," : "", stdout);
    print_escaped(sorted[i], strlen(sorted[i]));
    putchar(':');
    print_base64((unsigned char *)value, (size_t)size);
  }
}

static void
print_sha256(const char *path)
{
  static unsigned char buffer[1 << 18];
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int len;
  ssize_t n;

  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    die("open", path);
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
  while ((n = read(fd, buffer, sizeof buffer)) > 0)
    EVP_DigestUpdate(ctx, buffer, (size_t)n);
  if (n < 0)
    die("read", path);
  EVP_DigestFinal_ex(ctx, digest, &len);
  EVP_MD_CTX_free(ctx);
  close(fd);
  for (unsigned int i = 0; i < len; i++)
    printf("%02x", digest[i]);
}

static void
add(char *path, const struct stat *st)
{
  if (n_entries == allocated) {
    allocated = allocated ? allocated * 2 : 4096;
    entries = xrealloc(entries, allocated * sizeof *entries);
  }
  entries[n_entries++] = (struct entry){path, *st};
}

/* Takes ownership of `path`. */
static void
walk(char *path)
{
  struct stat st;
  char *real = join(top, path + 1);

  if (lstat(real, &st) < 0) {
    if (errno != ENOENT)
      die("stat", real);
    st = (struct stat){0};
  }
  add(path, &st);
  if (S_ISDIR(st.st_mode) && st.st_dev == top_dev) {
    DIR *d = opendir(real);
    struct dirent *e;
    if (d == NULL)
      die("open", real);
    while ((errno = 0, e = readdir(d)) != NULL) {
      if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
        continue;
      char *child = join(path, e->d_name);
      if (is_excluded(child))
        free(child);
      else
        walk(child);
    }
    if (errno != 0)
      die("read", real);
    closedir(d);
  }
  free(real);
}

static int
compare_paths(const void *a, const void *b)
{
  return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* By inode, then by path: the first of a group is its first name. */
static int
compare_inodes(const void *a, const void *b)
{
  const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
  if (x->st.st_dev != y->st.st_dev)
    return x->st.st_dev < y->st.st_dev ? -1 : 1;
  if (x->st.st_ino != y->st.st_ino)
    return x->st.st_ino < y->st.st_ino ? -1 : 1;
  return strcmp(x->path, y->path);
}

static const char *
first_name(struct entry **by_inode, size_t n, const struct entry *e)
{
  size_t low = 0, high = n;
  while (low < high) {
    size_t mid = (low + high) / 2;
    const struct stat *m = &by_inode[mid]->st;
    if (m->st_dev < e->st.st_dev || (m->st_dev == e->st.st_dev && m->st_ino < e->st.st_ino))
      low = mid + 1;
    else
      high = mid;
  }
  return by_inode[low]->path;
}

static char
type_letter(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFREG:
    return 'f';
  case S_IFDIR:
    return 'd';
  case S_IFLNK:
    return 'l';
  case S_IFCHR:
    return 'c';
  case S_IFBLK:
    return 'b';
  case S_IFIFO:
    return 'p';
  default:
    return 's';
  }
}

static void
print_target(const char *path)
{
  char target[4097];
  ssize_t n = readlink(path, target, sizeof target);
  if (n < 0)
    die("read the link", path);
  print_escaped(target, (size_t)n);
}

static void
print_entry(const struct entry *e, struct entry **by_inode)
{
  const struct stat *st = &e->st;
  char *real = join(top, e->path + 1);
  bool is_file = S_ISREG(st->st_mode), is_device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);

  print_escaped(e->path, strlen(e->path));
  if (st->st_mode == 0) {
    puts(" type=missing");
    free(real);
    return;
  }
  printf(" type=%c mode=%04o uid=%u gid=%u", type_letter(st->st_mode), st->st_mode & 07777,
         st->st_uid, st->st_gid);
  if (strcmp(e->path, "/") == 0)
    fputs(" mtime=-", stdout);
  else
    printf(" mtime=%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
  if (S_ISDIR(st->st_mode))
    fputs(" nlink=- link=-", stdout);
  else {
    printf(" nlink=%lu link=", (unsigned long)st->st_nlink);
    const char *first = st->st_nlink > 1 ? first_name(by_inode, n_entries, e) : "-";
    print_escaped(first, strlen(first));
  }
  if (is_file)
    printf(" size=%lld blocks=%lld", (long long)st->st_size, (long long)st->st_blocks);
  else
    fputs(" size=- blocks=-", stdout);
  printf(" dev=%s", st->st_dev == top_dev ? "same" : "other");
  if (is_device)
    printf(" rdev=%u,%u", major(st->st_rdev), minor(st->st_rdev));
  else
    fputs(" rdev=-", stdout);
  fputs(" target=", stdout);
  if (S_ISLNK(st->st_mode))
    print_target(real);
  fputs(" sha256=", stdout);
  if (is_file)
    print_sha256(real);
  fputs(" xattrs=", stdout);
  print_xattrs(real);
  putchar('\n');
  free(real);
}

int
main(int argc, char **argv)
{
  struct stat st;
  int c;

  while ((c = getopt(argc, argv, "x:")) != -1) {
    if (c != 'x')
      return 2;
    excluded = xrealloc(excluded, (n_excluded + 1) * sizeof *excluded);
    excluded[n_excluded++] = optarg;
  }
  top = optind < argc ? argv[optind] : "/";
  if (lstat(top, &st) < 0)
    die("stat", top);
  top_dev = st.st_dev;
  walk(strdup("/"));

  qsort(entries, n_entries, sizeof *entries, compare_paths);
  struct entry **by_inode = xrealloc(NULL, n_entries * sizeof *by_inode);
  for (size_t i = 0; i < n_entries; i++)
    by_inode[i] = &entries[i];
  qsort(by_inode, n_entries, sizeof *by_inode, compare_inodes);
  for (size_t i = 0; i < n_entries; i++)
    print_entry(&entries[i], by_inode);
  if (fflush(stdout) != 0 || ferror(stdout))
    die("write the listing of", top);
  return 0;
}
