/* Kills a process at its Nth change of a folder: a library to preload, see aimed.py.

   Counted, over all threads, is what changes something below AIMED_FOLDER: files opened to be written, writes, new
   lengths, syncs, renames, removals, folders made. Only these leave another disk behind: a kill between two of them is
   a kill just before the second. At number AIMED_KILL the process is killed before the change, or, with AIMED_TORN=1,
   after half of it, where it is a write. AIMED_LOG names a file that gets a line for each. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) static typeof(&name) real; if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))

static atomic_long count;
static _Atomic(const char *) folder;

/* The server that forks has no folder; its children get one by their environment. */
static const char *aimed_folder(void) {
  const char *found = folder;
  if (!found && (found = getenv("AIMED_FOLDER"))) folder = found = strdup(found);
  return found;
}

static int below(const char *path) {
  const char *start = aimed_folder();
  size_t length = start ? strlen(start) : 0;
  return length && !strncmp(path, start, length) && (path[length] == '/' || !path[length]);
}

static void name_of(int descriptor, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  long length = syscall(SYS_readlink, link, out, PATH_MAX - 1);
  out[length < 0 ? 0 : length] = 0;
}

static void name_at(int at, const char *path, char *out) {
  if (path[0] == '/') {
    snprintf(out, PATH_MAX, "%s", path);
    return;
  }
  char start[PATH_MAX];
  if (at == AT_FDCWD) {
    if (syscall(SYS_getcwd, start, sizeof start) < 0) start[0] = 0;
  } else {
    name_of(at, start);
  }
  if (snprintf(out, PATH_MAX, "%s/%s", start, path) >= PATH_MAX) out[0] = 0;
}

/* Count one change; die before it, or say that half of it is to be done first. */
static int torn(const char *what, const char *path, int divisible) {
  if (!below(path)) return 0;
  long number = ++count;
  const char *log = getenv("AIMED_LOG"), *at = getenv("AIMED_KILL"), *half = getenv("AIMED_TORN");
  if (log) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, what, path + strlen(folder));
    int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT, 0600);
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
  }
  if (!at || number != atol(at)) return 0;
  if (divisible && half && *half == '1') return 1;
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int torn_at(const char *what, int at, const char *path) {
  char name[PATH_MAX];
  if (!aimed_folder() || !path) return 0;
  name_at(at, path, name);
  return torn(what, name, 0);
}

static int torn_file(const char *what, int descriptor, int divisible) {
  char name[PATH_MAX];
  if (!aimed_folder()) return 0;
  name_of(descriptor, name);
  return torn(what, name, divisible);
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define OPEN(name) int name(const char *path, int flags, ...) { REAL(name); MODE(flags) if (WRITES(flags)) torn_at("open", AT_FDCWD, path); return real(path, flags, mode); }
OPEN(open)
OPEN(open64)
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { REAL(name); MODE(flags) if (WRITES(flags)) torn_at("open", at, path); return real(at, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)
#define CREAT(name) int name(const char *path, mode_t mode) { REAL(name); torn_at("open", AT_FDCWD, path); return real(path, mode); }
CREAT(creat)
CREAT(creat64)
#define FOPEN(name) FILE *name(const char *path, const char *how) { REAL(name); if (how[0] != 'r' || strchr(how, '+')) torn_at("open", AT_FDCWD, path); return real(path, how); }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *bytes, size_t size) {
  REAL(write);
  if (torn_file("write", file, 1)) { real(file, bytes, size / 2); die(); }
  return real(file, bytes, size);
}
ssize_t writev(int file, const struct iovec *parts, int many) {
  REAL(writev);
  if (torn_file("write", file, 1)) { real(file, parts, many / 2); die(); }
  return real(file, parts, many);
}
#define PWRITE(name, offset_type) ssize_t name(int file, const void *bytes, size_t size, offset_type offset) { REAL(name); if (torn_file("write", file, 1)) { real(file, bytes, size / 2, offset); die(); } return real(file, bytes, size, offset); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
size_t fwrite(const void *bytes, size_t size, size_t many, FILE *file) {
  REAL(fwrite);
  if (torn_file("write", fileno(file), 1)) { real(bytes, 1, size * many / 2, file); fflush_unlocked(file); die(); }
  return real(bytes, size, many, file);
}
int fflush(FILE *file) { REAL(fflush); if (file) torn_file("flush", fileno(file), 0); return real(file); }
int fclose(FILE *file) { REAL(fclose); torn_file("close", fileno(file), 0); return real(file); }
int fsync(int file) { REAL(fsync); torn_file("sync", file, 0); return real(file); }
int fdatasync(int file) { REAL(fdatasync); torn_file("sync", file, 0); return real(file); }
#define FTRUNCATE(name, length_type) int name(int file, length_type length) { REAL(name); torn_file("truncate", file, 0); return real(file, length); }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
int rename(const char *from, const char *to) { REAL(rename); torn_at("rename", AT_FDCWD, to); return real(from, to); }
int renameat(int at, const char *from, int other, const char *to) { REAL(renameat); torn_at("rename", other, to); return real(at, from, other, to); }
int unlink(const char *path) { REAL(unlink); torn_at("unlink", AT_FDCWD, path); return real(path); }
int unlinkat(int at, const char *path, int flags) { REAL(unlinkat); torn_at("unlink", at, path); return real(at, path, flags); }
int rmdir(const char *path) { REAL(rmdir); torn_at("unlink", AT_FDCWD, path); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); torn_at("mkdir", AT_FDCWD, path); return real(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { REAL(mkdirat); torn_at("mkdir", at, path); return real(at, path, mode); }
