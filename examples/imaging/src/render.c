// A lake between mountains at dusk, from nothing but hashes and square roots.
#include "image.h"

typedef struct {
  float r, g, b;
} Colour;

static float clamp(float v) { return v < 0 ? 0 : v > 1 ? 1 : v; }
static float smooth(float t) { return t * t * (3 - 2 * t); }
static float between(float a, float b, float t) { return a + (b - a) * t; }

static Colour mix(Colour a, Colour b, float t) {
  return (Colour){between(a.r, b.r, t), between(a.g, b.g, t), between(a.b, b.b, t)};
}

static float random2(int x, int y, u32 seed) {
  u32 h = (u32)x * 374761393u + (u32)y * 668265263u + seed * 2246822519u;
  h = (h ^ h >> 13) * 1274126177u;
  h = (h ^ h >> 16) * 2654435761u;
  return (float)((h ^ h >> 15) & 0xffffff) / 16777215.0f;
}

static int floor_of(float v) {
  int i = (int)v;
  return (float)i > v ? i - 1 : i;
}

static float noise(float x, float y, u32 seed) {
  int ix = floor_of(x), iy = floor_of(y);
  float u = smooth(x - (float)ix), v = smooth(y - (float)iy);
  float top = between(random2(ix, iy, seed), random2(ix + 1, iy, seed), u);
  float low = between(random2(ix, iy + 1, seed), random2(ix + 1, iy + 1, seed), u);
  return between(top, low, v);
}

static float layers(float x, float y, u32 seed, int octaves) {
  float sum = 0, weight = 0.5f;
  for (int i = 0; i < octaves; i++, weight *= 0.5f, x *= 2.03f, y *= 2.03f)
    sum += weight * noise(x, y, seed + (u32)i * 17u);
  return sum;
}

static const Colour ZENITH = {0.07f, 0.09f, 0.24f}, HIGH = {0.28f, 0.20f, 0.42f},
                    LOW = {0.95f, 0.45f, 0.30f}, HORIZON = {1.0f, 0.78f, 0.45f},
                    SUN = {1.0f, 0.93f, 0.76f}, NEAR = {0.03f, 0.04f, 0.09f};

#define WATER 0.66f  // where the lake begins, from the top
#define RIDGES 5

static Colour sky(float x, float y, float sun_x, u32 seed) {
  float t = clamp(y / WATER);
  Colour c = t < 0.45f ? mix(ZENITH, HIGH, smooth(t / 0.45f))
             : t < 0.8f ? mix(HIGH, LOW, smooth((t - 0.45f) / 0.35f))
                        : mix(LOW, HORIZON, smooth((t - 0.8f) / 0.2f));
  float dx = x - sun_x, dy = y - 0.27f;
  float far = __builtin_sqrtf(dx * dx + dy * dy);
  float glow = clamp(1 - far / 0.55f);
  c = mix(c, HORIZON, glow * glow * 0.55f);
  c = mix(c, SUN, smooth(clamp((0.060f - far) / 0.006f)));
  float cloud = layers(x * 2.2f + 9, y * 11.0f, seed + 71, 5);
  float veil = smooth(clamp((cloud - 0.52f) * 5)) * clamp(1 - (y - 0.12f) * (y - 0.12f) * 9);
  c = mix(c, mix(LOW, SUN, glow), veil * 0.55f);
  float star = random2(floor_of(x * 420), floor_of(y * 420), seed + 5);
  if (star > 0.9965f && t < 0.5f && veil < 0.1f) c = mix(c, SUN, (0.5f - t) * (star - 0.9965f) * 500);
  return c;
}

// The height of a ridge's crest, from the top of the picture; nearer ridges are lower and rougher.
static float crest(int ridge, float x, u32 seed) {
  float near = (float)ridge / (RIDGES - 1);
  float wide = between(1.6f, 3.2f, near);
  float shape = layers(x * wide + (float)ridge * 31.7f, 0.5f, seed + 100u * (u32)ridge, 7);
  float sharp = 1 - 2 * (shape > 0.5f ? shape - 0.5f : 0.5f - shape);
  return between(0.44f, 0.62f, near) + (0.62f - sharp) * between(0.30f, 0.16f, near);
}

static Colour scene(float x, float y, float sun_x, u32 seed, const float *crests) {
  Colour c = sky(x, y, sun_x, seed);
  for (int ridge = 0; ridge < RIDGES; ridge++) {
    float below = y - crests[ridge];
    if (below < 0) continue;
    float near = (float)(ridge + 1) / RIDGES;
    Colour air = mix(HIGH, LOW, clamp(1 - (x - sun_x) * (x - sun_x) * 2.2f));
    Colour rock = mix(air, NEAR, smooth(near) * 0.93f + 0.05f);
    float grain = layers(x * 38, y * 60 + (float)ridge, seed + 900, 3) - 0.45f;
    rock = mix(rock, NEAR, clamp(grain * 0.5f * near));
    c = mix(rock, air, clamp(below * 3.2f) * (1 - near) * 0.6f);
  }
  return c;
}

static u8 byte_of(float v) { return (u8)(clamp(v) * 255.0f + 0.5f); }

void render(Image *image, u32 seed) {
  float size = (float)image->height, aspect = (float)image->width / size;
  float sun_x = aspect * between(0.3f, 0.7f, random2(1, 2, seed));
  for (u32 px = 0; px < image->width; px++) {
    float crests[RIDGES], x = ((float)px + 0.5f) / size;
    for (int ridge = 0; ridge < RIDGES; ridge++) crests[ridge] = crest(ridge, x, seed);
    for (u32 py = 0; py < image->height; py++) {
      float y = ((float)py + 0.5f) / size;
      Colour c;
      if (y < WATER) {
        c = scene(x, y, sun_x, seed, crests);
      } else {
        float depth = (y - WATER) / (1 - WATER);
        float wave = layers(x * 6, (y - WATER) * between(260, 60, depth), seed + 40, 3) - 0.44f;
        float mirrored = WATER - (y - WATER) * 1.25f + wave * 0.05f * (0.25f + depth);
        c = scene(x + wave * 0.012f, mirrored < 0 ? 0 : mirrored, sun_x, seed, crests);
        c = mix(c, ZENITH, 0.16f + 0.34f * depth);
        c = mix(c, HORIZON, clamp(wave - 0.12f) * (1 - depth) * 0.8f);
      }
      float dim = 1 - 0.35f * ((x / aspect - 0.5f) * (x / aspect - 0.5f) + (y - 0.5f) * (y - 0.5f));
      u8 *to = image->pixels + ((usize)py * image->width + px) * 4;
      to[0] = byte_of(c.r * dim);
      to[1] = byte_of(c.g * dim);
      to[2] = byte_of(c.b * dim);
      to[3] = 255;
    }
  }
}
