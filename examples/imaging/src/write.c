// Writing PNG: the filter with the smallest sum per row, then DEFLATE with fixed codes.
#include "image.h"

typedef struct {
  u8 *data;
  usize size;
  u32 bits, count;
} Writer;

static void put_bits(Writer *w, u32 value, u32 n) {
  w->bits |= value << w->count;
  w->count += n;
  while (w->count >= 8) {
    w->data[w->size++] = (u8)w->bits;
    w->bits >>= 8;
    w->count -= 8;
  }
}

// Huffman codes go in with their highest bit first.
static void put_code(Writer *w, u32 code, u32 n) {
  u32 turned = 0;
  for (u32 i = 0; i < n; i++) turned |= (code >> i & 1) << (n - 1 - i);
  put_bits(w, turned, n);
}

// RFC 1951, section 3.2.6.
static void put_symbol(Writer *w, u32 s) {
  if (s < 144) put_code(w, 0x30 + s, 8);
  else if (s < 256) put_code(w, 0x190 + s - 144, 9);
  else if (s < 280) put_code(w, s - 256, 7);
  else put_code(w, 0xc0 + s - 280, 8);
}

static void put_match(Writer *w, u32 length, u32 distance) {
  u32 code, extra, base;
  if (length == 258) {
    put_symbol(w, 285);
  } else {
    u32 n = length - 3;
    extra = n < 8 ? 0 : 29 - (u32)__builtin_clz(n);
    code = n < 8 ? 257 + n : 257 + 4 * extra + (n >> extra);
    put_symbol(w, code);
    put_bits(w, n & ((1u << extra) - 1), extra);
  }
  base = distance - 1;
  extra = base < 4 ? 0 : 30 - (u32)__builtin_clz(base);
  put_code(w, base < 4 ? base : 2 * extra + (base >> extra), 5);
  put_bits(w, base & ((1u << extra) - 1), extra);
}

#define HASH_BITS 15
#define WINDOW 32768u

static u32 hash3(const u8 *p) {
  return ((u32)p[0] << 16 | (u32)p[1] << 8 | p[2]) * 2654435761u >> (32 - HASH_BITS);
}

static void deflate(Writer *w, const u8 *in, usize size) {
  u32 *last = take((1u << HASH_BITS) * 4, 4);
  fill(last, 0, (1u << HASH_BITS) * 4);
  put_bits(w, 1, 1);
  put_bits(w, 1, 2);
  for (usize at = 0; at < size;) {
    usize length = 0, from = 0;
    if (size - at >= 4) {
      u32 slot = hash3(in + at);
      from = last[slot];  // one more than the position, 0 for none
      last[slot] = (u32)at + 1;
      if (from && at - (from - 1) <= WINDOW) {
        usize most = size - at < 258 ? size - at : 258;
        while (length < most && in[from - 1 + length] == in[at + length]) length++;
      }
    }
    if (length < 4) {
      put_symbol(w, in[at++]);
      continue;
    }
    put_match(w, (u32)length, (u32)(at - (from - 1)));
    for (usize i = 1; i < length && size - (at + i) >= 4; i++)
      last[hash3(in + at + i)] = (u32)(at + i) + 1;
    at += length;
  }
  put_symbol(w, 256);
  put_bits(w, 0, 7);  // up to a whole byte
}

static u32 crc_table[256];

static u32 crc(const u8 *data, usize size) {
  if (!crc_table[1])
    for (u32 n = 0; n < 256; n++) {
      u32 c = n;
      for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
      crc_table[n] = c;
    }
  u32 c = 0xffffffffu;
  for (usize i = 0; i < size; i++) c = crc_table[(c ^ data[i]) & 255] ^ c >> 8;
  return ~c;
}

static u32 adler(const u8 *data, usize size) {
  u32 a = 1, b = 0;
  for (usize i = 0; i < size; i++) {
    a = (a + data[i]) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

static void put_u32(u8 *to, u32 v) {
  to[0] = (u8)(v >> 24);
  to[1] = (u8)(v >> 16);
  to[2] = (u8)(v >> 8);
  to[3] = (u8)v;
}

static usize put_chunk(u8 *to, const char *kind, usize length) {
  put_u32(to, (u32)length);
  copy(to + 4, kind, 4);
  put_u32(to + 8 + length, crc(to + 4, length + 4));
  return length + 12;
}

static u8 predict(u32 kind, u8 left, u8 up, u8 corner) {
  if (kind == 1) return left;
  if (kind == 2) return up;
  if (kind == 3) return (u8)((left + up) / 2);
  if (kind == 4) {
    int p = left + up - corner, a = p - left, b = p - up, c = p - corner;
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    c = c < 0 ? -c : c;
    return a <= b && a <= c ? left : b <= c ? up : corner;
  }
  return 0;
}

static void filter_row(const u8 *row, const u8 *above, usize stride, u32 channels, u8 *to) {
  u32 best = 0;
  u64 best_sum = ~0ull;
  for (u32 kind = 0; kind <= 5; kind++) {
    u32 use = kind == 5 ? best : kind;  // the sixth round writes the winner
    u64 sum = 0;
    for (usize i = 0; i < stride; i++) {
      u8 left = i >= channels ? row[i - channels] : 0, up = above ? above[i] : 0;
      u8 corner = above && i >= channels ? above[i - channels] : 0;
      u8 rest = (u8)(row[i] - predict(use, left, up, corner));
      to[i + 1] = rest;
      sum += rest < 128 ? rest : 256u - rest;
    }
    if (kind < 5 && sum < best_sum) best_sum = sum, best = kind;
  }
  to[0] = (u8)best;
}

// Alpha is left out when every pixel is opaque, colour when every pixel is grey.
static u32 channels_needed(const Image *image) {
  usize count = (usize)image->width * image->height;
  int colour = 0, alpha = 0;
  for (usize i = 0; i < count && !(colour && alpha); i++) {
    const u8 *p = image->pixels + i * 4;
    colour |= p[0] != p[1] || p[1] != p[2];
    alpha |= p[3] != 255;
  }
  return (colour ? 3u : 1u) + (alpha ? 1u : 0u);
}

static u8 *filtered(const Image *image, u32 channels, usize stride) {
  u8 *out = take((stride + 1) * image->height, 1), *rows[2] = {take(stride, 1), take(stride, 1)};
  for (u32 y = 0; y < image->height; y++) {
    u8 *row = rows[y & 1];
    for (u32 x = 0; x < image->width; x++) {
      const u8 *p = image->pixels + ((usize)y * image->width + x) * 4;
      u8 *to = row + (usize)x * channels;
      if (channels >= 3) copy(to, p, 3);
      else to[0] = p[0];
      if (!(channels & 1)) to[channels - 1] = p[3];
    }
    filter_row(row, y ? rows[(y + 1) & 1] : 0, stride, channels, out + y * (stride + 1));
  }
  return out;
}

Bytes png_write(const Image *image) {
  static const u8 COLOUR[5] = {0, 0, 4, 2, 6};
  u32 channels = channels_needed(image);
  usize stride = (usize)image->width * channels, raw_size = (stride + 1) * image->height;
  u8 *raw = filtered(image, channels, stride);
  // A literal takes nine bits at most, so this is room enough for the stream and all around it.
  u8 *out = take(raw_size + raw_size / 8 + 256, 8);
  usize at = 8;
  copy(out, "\x89PNG\r\n\x1a\n", 8);
  put_u32(out + at + 8, image->width);
  put_u32(out + at + 12, image->height);
  copy(out + at + 16, "\x08\0\0\0\0", 5);
  out[at + 17] = COLOUR[channels];
  at += put_chunk(out + at, "IHDR", 13);
  Writer w = {out + at + 8, 2, 0, 0};
  w.data[0] = 0x78;
  w.data[1] = 0x01;
  deflate(&w, raw, raw_size);
  put_u32(w.data + w.size, adler(raw, raw_size));
  at += put_chunk(out + at, "IDAT", w.size + 4);
  at += put_chunk(out + at, "IEND", 0);
  return (Bytes){out, at};
}
