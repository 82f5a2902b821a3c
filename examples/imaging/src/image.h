// What the parts of the guest share: memory, errors and the picture itself. No libc.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __SIZE_TYPE__ usize;

#define MAX_SIDE 16384u
#define MAX_PIXELS (64u * 1024u * 1024u)

// Four bytes a pixel: red, green, blue, alpha; rows from the top.
typedef struct {
  u32 width, height;
  u8 *pixels;
} Image;

typedef struct {
  u8 *data;
  usize size;
} Bytes;

// Every call gets a fresh instance, so memory is only ever handed out, never taken back.
// Traps when the memory limit is reached.
void *take(usize size, usize align);

// NULL when fine, else the reason as text.
typedef const char *Fault;

Fault image_new(Image *image, u32 width, u32 height);
Fault image_read(Image *image, const u8 *data, usize size);
Bytes png_write(const Image *image);
Fault inflate(const u8 *in, usize in_size, u8 *out, usize out_size);
void render(Image *image, u32 seed);

#define copy(to, from, n) __builtin_memcpy(to, from, n)
#define fill(to, byte, n) __builtin_memset(to, byte, n)
