// A command (WASI preview 1): counts lines, words and bytes of standard input, or greets.
//
//   count                lines, words, bytes
//   count -w             words alone
//   count hello world    prints its arguments, one a line
//
// No libc, so that the module stays small and is the same wherever it is built.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct {
  const void *data;
  u32 size;
} Slice;

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))

WASI("fd_read") u32 fd_read(u32 fd, const Slice *to, u32 n, u32 *got);
WASI("fd_write") u32 fd_write(u32 fd, const Slice *from, u32 n, u32 *put);
WASI("args_sizes_get") u32 args_sizes_get(u32 *count, u32 *size);
WASI("args_get") u32 args_get(char **args, char *text);
WASI("proc_exit") _Noreturn void proc_exit(u32 status);

static u8 buffer[65536];
static char *args[256];
static char text[16384];

static void print(u32 fd, const void *data, u32 size) {
  while (size) {
    Slice rest = {data, size};
    u32 put = 0;
    if (fd_write(fd, &rest, 1, &put) || !put) proc_exit(74);
    data = (const u8 *)data + put;
    size -= put;
  }
}

static u32 length(const char *s) {
  u32 n = 0;
  while (s[n]) n++;
  return n;
}

static void fail(const char *why) {
  print(2, "count: ", 7);
  print(2, why, length(why));
  print(2, "\n", 1);
  proc_exit(2);
}

static void number(u64 n, char end) {
  char digits[24];
  u32 at = sizeof digits;
  digits[--at] = end;
  do digits[--at] = (char)('0' + n % 10);
  while (n /= 10);
  print(1, digits + at, (u32)sizeof digits - at);
}

static void count(int words_only) {
  u64 lines = 0, words = 0, bytes = 0;
  int inside = 0;
  for (;;) {
    Slice room = {buffer, sizeof buffer};
    u32 got = 0;
    if (fd_read(0, &room, 1, &got)) fail("cannot read standard input");
    if (!got) break;
    bytes += got;
    for (u32 i = 0; i < got; i++) {
      int blank = buffer[i] <= ' ';
      lines += buffer[i] == '\n';
      words += !blank && !inside;
      inside = !blank;
    }
  }
  if (words_only) {
    number(words, '\n');
  } else {
    number(lines, ' ');
    number(words, ' ');
    number(bytes, '\n');
  }
}

__attribute__((export_name("_start"))) void start(void) {
  u32 n, size;
  if (args_sizes_get(&n, &size) || n > 256 || size > sizeof text) fail("too many arguments");
  args_get(args, text);
  int words_only = n == 2 && args[1][0] == '-' && args[1][1] == 'w' && !args[1][2];
  if (n <= 1 || words_only) {
    count(words_only);
    return;
  }
  if (args[1][0] == '-') fail("the only option is -w");
  for (u32 i = 1; i < n; i++) {
    print(1, args[i], length(args[i]));
    print(1, "\n", 1);
  }
}
