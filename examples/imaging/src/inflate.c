// DEFLATE decoding (RFC 1951) of a whole stream into a buffer of known size.
#include "image.h"

typedef struct {
  const u8 *in;
  usize size, at;
  u32 bits, count;
  int short_input;
} Reader;

typedef struct {
  u16 counts[16];
  u16 symbols[288];
} Code;

static u32 take_bits(Reader *r, u32 n) {
  while (r->count < n) {
    if (r->at == r->size) {
      r->short_input = 1;
      return 0;
    }
    r->bits |= (u32)r->in[r->at++] << r->count;
    r->count += 8;
  }
  u32 value = r->bits & ((1u << n) - 1);
  r->bits >>= n;
  r->count -= n;
  return value;
}

// Section 3.2.2: codes of one length are consecutive, in the order of their symbols.
static int build(Code *code, const u8 *lengths, u32 n) {
  fill(code->counts, 0, sizeof code->counts);
  for (u32 i = 0; i < n; i++) code->counts[lengths[i]]++;
  code->counts[0] = 0;
  int left = 1;
  u16 offsets[16];
  offsets[1] = 0;
  for (u32 len = 1; len < 16; len++) {
    left = (left << 1) - code->counts[len];
    if (left < 0) return 0;
    if (len < 15) offsets[len + 1] = (u16)(offsets[len] + code->counts[len]);
  }
  for (u32 i = 0; i < n; i++)
    if (lengths[i]) code->symbols[offsets[lengths[i]]++] = (u16)i;
  return 1;
}

static int decode(Reader *r, const Code *code) {
  int value = 0, first = 0, index = 0;
  for (u32 len = 1; len < 16; len++) {
    value |= (int)take_bits(r, 1);
    int count = code->counts[len];
    if (value - count < first) return code->symbols[index + value - first];
    index += count;
    first = (first + count) << 1;
    value <<= 1;
    if (r->short_input) return -1;
  }
  return -1;
}

static const u16 LENGTH_BASE[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const u8 LENGTH_EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                    2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const u16 DISTANCE_BASE[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                      33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                      1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const u8 DISTANCE_EXTRA[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                      6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

static Fault symbols(Reader *r, const Code *lengths, const Code *distances, u8 *out, usize out_size,
                     usize *at) {
  for (;;) {
    int symbol = decode(r, lengths);
    if (symbol < 0) return "the PNG's compressed data is damaged";
    if (symbol == 256) return 0;
    if (symbol < 256) {
      if (*at == out_size) return "the PNG holds more data than its size says";
      out[(*at)++] = (u8)symbol;
      continue;
    }
    symbol -= 257;
    if (symbol >= 29) return "the PNG's compressed data is damaged";
    usize length = LENGTH_BASE[symbol] + take_bits(r, LENGTH_EXTRA[symbol]);
    int code = decode(r, distances);
    if (code < 0 || code >= 30) return "the PNG's compressed data is damaged";
    usize distance = DISTANCE_BASE[code] + take_bits(r, DISTANCE_EXTRA[code]);
    if (distance > *at) return "the PNG's compressed data is damaged";
    if (length > out_size - *at) return "the PNG holds more data than its size says";
    for (; length; length--, (*at)++) out[*at] = out[*at - distance];
  }
}

static Fault stored(Reader *r, u8 *out, usize out_size, usize *at) {
  r->bits = r->count = 0;
  if (r->size - r->at < 4) return "the PNG is cut off";
  usize length = r->in[r->at] | (usize)r->in[r->at + 1] << 8;
  usize check = r->in[r->at + 2] | (usize)r->in[r->at + 3] << 8;
  r->at += 4;
  if ((length ^ check) != 0xffff) return "the PNG's compressed data is damaged";
  if (length > r->size - r->at) return "the PNG is cut off";
  if (length > out_size - *at) return "the PNG holds more data than its size says";
  copy(out + *at, r->in + r->at, length);
  r->at += length;
  *at += length;
  return 0;
}

static void fixed_codes(Code *lengths, Code *distances) {
  u8 sizes[288];
  for (u32 i = 0; i < 288; i++) sizes[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  build(lengths, sizes, 288);
  for (u32 i = 0; i < 30; i++) sizes[i] = 5;
  build(distances, sizes, 30);
}

// Section 3.2.7: the two codes, themselves coded.
static int dynamic_codes(Reader *r, Code *lengths, Code *distances) {
  static const u8 ORDER[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  u32 n_lengths = take_bits(r, 5) + 257, n_distances = take_bits(r, 5) + 1;
  u32 n_codes = take_bits(r, 4) + 4, at = 0;
  u8 sizes[320] = {0};
  if (n_lengths > 286 || n_distances > 30) return 0;
  for (u32 i = 0; i < n_codes; i++) sizes[ORDER[i]] = (u8)take_bits(r, 3);
  if (!build(lengths, sizes, 19)) return 0;
  fill(sizes, 0, sizeof sizes);
  while (at < n_lengths + n_distances) {
    int symbol = decode(r, lengths);
    if (symbol < 0) return 0;
    if (symbol < 16) {
      sizes[at++] = (u8)symbol;
      continue;
    }
    if (symbol == 16 && at == 0) return 0;
    u8 previous = symbol == 16 ? sizes[at - 1] : 0;
    u32 repeat = symbol == 16   ? 3 + take_bits(r, 2)
                 : symbol == 17 ? 3 + take_bits(r, 3)
                                : 11 + take_bits(r, 7);
    if (at + repeat > n_lengths + n_distances) return 0;
    while (repeat--) sizes[at++] = previous;
  }
  return build(lengths, sizes, n_lengths) && build(distances, sizes + n_lengths, n_distances);
}

Fault inflate(const u8 *in, usize in_size, u8 *out, usize out_size) {
  Reader r = {in, in_size, 0, 0, 0, 0};
  usize at = 0;
  u32 last;
  do {
    Code lengths, distances;
    Fault fault = 0;
    last = take_bits(&r, 1);
    u32 kind = take_bits(&r, 2);
    if (r.short_input || kind == 3) return "the PNG's compressed data is damaged";
    if (kind == 0) {
      fault = stored(&r, out, out_size, &at);
    } else {
      if (kind == 1) fixed_codes(&lengths, &distances);
      else if (!dynamic_codes(&r, &lengths, &distances)) return "the PNG's compressed data is damaged";
      fault = symbols(&r, &lengths, &distances, out, out_size, &at);
    }
    if (fault) return fault;
    if (r.short_input) return "the PNG is cut off";
  } while (!last);
  return at == out_size ? 0 : "the PNG holds less data than its size says";
}
