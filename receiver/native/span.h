/* Bytes of a request, read field by field: every length is compared with the remaining bytes
   first. Rules: Protocol Buffers, "Encoding" (varints, length-delimited). */
#ifndef RECEIVER_SPAN_H
#define RECEIVER_SPAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines; others run the full parser, in Python"
#endif

typedef struct { const uint8_t *at, *end; } Span;

static inline size_t left(Span s) { return (size_t)(s.end - s.at); }

static inline Span span_of(const void *at, size_t size)
{
    const uint8_t *bytes = at;
    return (Span){bytes, size ? bytes + size : bytes};
}

/* Read a varint of at most 10 bytes. 0: there is none. */
static inline int varint(Span *s, uint64_t *value)
{
    uint64_t read = 0;
    for (int shift = 0; shift < 70 && s->at < s->end; shift += 7) {
        uint8_t byte = *s->at++;
        read |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) {
            *value = read;
            return 1;
        }
    }
    return 0;
}

/* Read a tag or a length: at most 5 bytes, as in the full parser. */
static inline int short_varint(Span *s, uint64_t *value)
{
    const uint8_t *start = s->at;
    return varint(s, value) && s->at - start <= 5;
}

/* Read a length and as many bytes. 0: fewer are left. */
static inline int delimited(Span *s, Span *content)
{
    uint64_t size;
    if (!short_varint(s, &size) || size > left(*s))
        return 0;
    content->at = s->at;
    content->end = s->at += size;
    return 1;
}

/* Hash two words: their product of 128 bits, folded. */
static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Make room for `wanted` elements of `size` bytes in total. -1: no memory; the array is unchanged. */
static inline int grow(void **array, size_t *room, size_t wanted, size_t size)
{
    if (wanted <= *room)
        return 0;
    size_t more = *room > wanted / 2 ? *room * 2 : wanted + 256;
    void *made = more > SIZE_MAX / size ? NULL : realloc(*array, more * size);
    if (!made)
        return -1;
    *array = made;
    *room = more;
    return 0;
}

#endif
