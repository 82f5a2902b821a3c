// Reading a picture: PNG (8 bits a channel, not interlaced) and binary PPM and PGM.
#include "image.h"

Fault image_new(Image *image, u32 width, u32 height) {
  if (!width || !height) return "the picture would be empty";
  if (width > MAX_SIDE || height > MAX_SIDE || (u64)width * height > MAX_PIXELS)
    return "the picture is too large: 16384 pixels a side and 64 megapixels at most";
  image->width = width;
  image->height = height;
  image->pixels = take((usize)width * height * 4, 4);
  return 0;
}

static u32 big_endian(const u8 *p) {
  return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static int same(const u8 *a, const char *b, usize n) {
  for (usize i = 0; i < n; i++)
    if (a[i] != (u8)b[i]) return 0;
  return 1;
}

typedef struct {
  u32 width, height, channels;
  u8 colour;
  u8 palette[256 * 4];
  u8 *packed;
  usize packed_size;
} Png;

static Fault png_header(Png *png, const u8 *data, usize size) {
  if (size < 13) return "the PNG is cut off";
  png->width = big_endian(data);
  png->height = big_endian(data + 4);
  png->colour = data[9];
  if (data[8] != 8) return "only PNGs with 8 bits a channel can be read";
  if (data[12] != 0) return "interlaced PNGs cannot be read";
  switch (png->colour) {
    case 0: case 3: png->channels = 1; return 0;
    case 2: png->channels = 3; return 0;
    case 4: png->channels = 2; return 0;
    case 6: png->channels = 4; return 0;
    default: return "the PNG's colour type is unknown";
  }
}

static void png_palette(Png *png, const u8 *data, usize size) {
  for (usize i = 0; i < 256 && i * 3 + 2 < size; i++) {
    copy(png->palette + i * 4, data + i * 3, 3);
    png->palette[i * 4 + 3] = 255;
  }
}

// Walks the chunks; IDAT parts are put one behind the other.
static Fault png_chunks(Png *png, const u8 *data, usize size) {
  usize at = 8;
  int seen_header = 0;
  png->packed = take(size, 1);
  png->packed_size = 0;
  for (;;) {
    if (size - at < 12) return "the PNG is cut off";
    usize length = big_endian(data + at);
    const u8 *kind = data + at + 4, *body = data + at + 8;
    if (length > size - at - 12) return "the PNG is cut off";
    if (same(kind, "IHDR", 4)) {
      Fault fault = png_header(png, body, length);
      if (fault) return fault;
      seen_header = 1;
    } else if (same(kind, "PLTE", 4)) {
      png_palette(png, body, length);
    } else if (same(kind, "tRNS", 4) && png->colour == 3) {
      for (usize i = 0; i < length && i < 256; i++) png->palette[i * 4 + 3] = body[i];
    } else if (same(kind, "IDAT", 4)) {
      copy(png->packed + png->packed_size, body, length);
      png->packed_size += length;
    } else if (same(kind, "IEND", 4)) {
      return seen_header ? 0 : "the PNG has no header";
    }
    at += length + 12;
  }
}

static u8 paeth(u8 left, u8 up, u8 corner) {
  int p = left + up - corner, a = p - left, b = p - up, c = p - corner;
  a = a < 0 ? -a : a;
  b = b < 0 ? -b : b;
  c = c < 0 ? -c : c;
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// PNG, section 9: each row is stored as the difference to a prediction.
static Fault unfilter(u8 *row, const u8 *above, usize stride, u32 channels, u8 kind) {
  if (kind > 4) return "the PNG's row filter is unknown";
  for (usize i = 0; i < stride; i++) {
    u8 left = i >= channels ? row[i - channels] : 0, up = above ? above[i] : 0;
    u8 corner = above && i >= channels ? above[i - channels] : 0;
    u8 guess = kind == 0   ? 0
               : kind == 1 ? left
               : kind == 2 ? up
               : kind == 3 ? (u8)((left + up) / 2)
                           : paeth(left, up, corner);
    row[i] = (u8)(row[i] + guess);
  }
  return 0;
}

static void expand(const Png *png, const u8 *row, u8 *to) {
  for (u32 x = 0; x < png->width; x++, to += 4) {
    const u8 *from = row + (usize)x * png->channels;
    switch (png->colour) {
      case 0: to[0] = to[1] = to[2] = from[0]; to[3] = 255; break;
      case 2: copy(to, from, 3); to[3] = 255; break;
      case 3: copy(to, png->palette + from[0] * 4, 4); break;
      case 4: to[0] = to[1] = to[2] = from[0]; to[3] = from[1]; break;
      default: copy(to, from, 4);
    }
  }
}

static Fault png_read(Image *image, const u8 *data, usize size) {
  Png *png = take(sizeof(Png), 8);
  fill(png, 0, sizeof *png);
  Fault fault = png_chunks(png, data, size);
  if (fault || (fault = image_new(image, png->width, png->height))) return fault;
  usize stride = (usize)png->width * png->channels, raw_size = (stride + 1) * png->height;
  u8 *raw = take(raw_size, 1), *above = 0;
  if (png->packed_size < 6) return "the PNG is cut off";
  // zlib (RFC 1950): two bytes before the stream, a checksum of four after it.
  if ((fault = inflate(png->packed + 2, png->packed_size - 6, raw, raw_size))) return fault;
  for (u32 y = 0; y < png->height; y++) {
    u8 *row = raw + y * (stride + 1) + 1;
    if ((fault = unfilter(row, above, stride, png->channels, row[-1]))) return fault;
    expand(png, row, image->pixels + (usize)y * png->width * 4);
    above = row;
  }
  return 0;
}

static int pnm_number(const u8 *data, usize size, usize *at, u32 *value) {
  while (*at < size && (data[*at] <= ' ' || data[*at] == '#')) {
    if (data[*at] == '#')
      while (*at < size && data[*at] != '\n') (*at)++;
    else
      (*at)++;
  }
  usize start = *at;
  *value = 0;
  while (*at < size && data[*at] >= '0' && data[*at] <= '9' && *value < 1000000)
    *value = *value * 10 + (data[(*at)++] - '0');
  return *at > start;
}

static Fault pnm_read(Image *image, const u8 *data, usize size) {
  usize at = 2;
  u32 width, height, top, channels = data[1] == '6' ? 3 : 1;
  if (!pnm_number(data, size, &at, &width) || !pnm_number(data, size, &at, &height) ||
      !pnm_number(data, size, &at, &top))
    return "the PPM's header is damaged";
  if (top != 255) return "only PPMs with 255 as the largest value can be read";
  Fault fault = image_new(image, width, height);
  if (fault) return fault;
  usize count = (usize)width * height;
  at++;
  if (at > size || size - at < count * channels) return "the PPM is cut off";
  for (usize i = 0; i < count; i++) {
    const u8 *from = data + at + i * channels;
    u8 *to = image->pixels + i * 4;
    to[0] = from[0];
    to[1] = from[channels == 3 ? 1 : 0];
    to[2] = from[channels == 3 ? 2 : 0];
    to[3] = 255;
  }
  return 0;
}

Fault image_read(Image *image, const u8 *data, usize size) {
  if (size >= 8 && same(data, "\x89PNG\r\n\x1a\n", 8)) return png_read(image, data, size);
  if (size >= 2 && data[0] == 'P' && (data[1] == '5' || data[1] == '6'))
    return pnm_read(image, data, size);
  return "this is neither a PNG nor a binary PPM or PGM file";
}
