// The exported functions, in the component model's canonical ABI.
#include "image.h"

#define EXPORT(name) __attribute__((export_name(name)))

extern u8 __heap_base;
static usize top;

void *take(usize size, usize align) {
  if (!top) top = (usize)&__heap_base;
  usize start = (top + align - 1) & ~(align - 1);
  if (start < top || start + size < start) __builtin_trap();
  usize have = (usize)__builtin_wasm_memory_size(0) << 16;
  if (start + size > have) {
    usize pages = (start + size - have + 65535) >> 16;
    if (__builtin_wasm_memory_grow(0, pages) == (usize)-1) __builtin_trap();
  }
  top = start + size;
  return (void *)start;
}

EXPORT("cabi_realloc") void *cabi_realloc(void *old, usize old_size, usize align, usize size) {
  void *new = take(size, align ? align : 1);
  if (old_size) copy(new, old, old_size < size ? old_size : size);
  return new;
}

// result<list<u8>, string> in memory: the case, then a pointer and a length.
typedef struct {
  u32 failed;
  const void *data;
  usize size;
} Result;

static Result *failed(Fault why) {
  Result *r = take(sizeof(Result), 4);
  usize n = 0;
  while (why[n]) n++;
  *r = (Result){1, why, n};
  return r;
}

static Result *written(const Image *image) {
  Result *r = take(sizeof(Result), 4);
  Bytes png = png_write(image);
  *r = (Result){0, png.data, png.size};
  return r;
}

EXPORT("render") Result *export_render(u32 width, u32 height, u32 seed) {
  Image out;
  Fault fault = image_new(&out, width, height);
  if (fault) return failed(fault);
  render(&out, seed);
  return written(&out);
}

EXPORT("crop")
Result *export_crop(const u8 *data, usize size, u32 x, u32 y, u32 width, u32 height) {
  Image in, out;
  Fault fault = image_read(&in, data, size);
  if (fault) return failed(fault);
  if (x > in.width || width > in.width - x || y > in.height || height > in.height - y)
    return failed("that part reaches beyond the picture");
  if ((fault = image_new(&out, width, height))) return failed(fault);
  for (u32 row = 0; row < height; row++)
    copy(out.pixels + (usize)row * width * 4,
         in.pixels + ((usize)(y + row) * in.width + x) * 4, (usize)width * 4);
  return written(&out);
}

EXPORT("rotate90") Result *export_rotate90(const u8 *data, usize size) {
  Image in, out;
  Fault fault = image_read(&in, data, size);
  if (fault || (fault = image_new(&out, in.height, in.width))) return failed(fault);
  const u32 *from = (const u32 *)in.pixels;
  u32 *to = (u32 *)out.pixels;
  for (u32 y = 0; y < in.height; y++)
    for (u32 x = 0; x < in.width; x++)
      to[(usize)x * in.height + (in.height - 1 - y)] = from[(usize)y * in.width + x];
  return written(&out);
}

// One pass along lines of `n` pixels that lie `step` bytes apart; the edge pixels are repeated.
static void box(const u8 *from, u8 *to, u32 n, usize step, u32 radius) {
  u32 window = 2 * radius + 1;
  for (u32 c = 0; c < 4; c++) {
    u64 sum = (u64)from[c] * (radius + 1);
    for (u32 i = 1; i <= radius; i++) sum += from[(usize)(i < n ? i : n - 1) * step + c];
    for (u32 i = 0; i < n; i++) {
      to[i * step + c] = (u8)((sum + window / 2) / window);
      u32 in = i + radius + 1 < n ? i + radius + 1 : n - 1, out = i > radius ? i - radius : 0;
      sum += from[in * step + c];
      sum -= from[out * step + c];
    }
  }
}

EXPORT("blur") Result *export_blur(const u8 *data, usize size, u32 radius) {
  Image in, other;
  Fault fault = image_read(&in, data, size);
  if (fault || (fault = image_new(&other, in.width, in.height))) return failed(fault);
  if (radius > MAX_SIDE) return failed("the radius is too large: 16384 pixels at most");
  usize stride = (usize)in.width * 4;
  for (int pass = 0; pass < 3; pass++) {
    for (u32 y = 0; y < in.height; y++)
      box(in.pixels + y * stride, other.pixels + y * stride, in.width, 4, radius);
    for (u32 x = 0; x < in.width; x++)
      box(other.pixels + x * 4, in.pixels + x * 4, in.height, stride, radius);
  }
  return written(&in);
}

EXPORT("grayscale") Result *export_grayscale(const u8 *data, usize size) {
  Image in;
  Fault fault = image_read(&in, data, size);
  if (fault) return failed(fault);
  usize count = (usize)in.width * in.height;
  for (usize i = 0; i < count; i++) {
    u8 *p = in.pixels + i * 4;
    p[0] = p[1] = p[2] = (u8)((299u * p[0] + 587u * p[1] + 114u * p[2] + 500u) / 1000u);
  }
  return written(&in);
}
