/* The compiled fold under libFuzzer: any columns, sound or not, and any records.

   Input: six bytes of sizes and choices, then the columns' elements, a byte each, then records of
   four bytes. A byte stands for a number near the bounds that receiver/native/fold.c checks.
   Asserted: a record is taken, repeated or handed back, each in its order; behind one that was
   handed back all of its series are; no series' time goes back, and no column but those that
   change does. Each column has memory of its own size: ASan sees a step beside it.
   Built and run by tests/fuzz/native.py (`make fuzz`).
*/
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fold.h"

#define BASE_MS 1800000000000
#define STEP_MS 20000
#define FUTURE_MS (BASE_MS + 200 * STEP_MS)

typedef struct { const uint8_t *at, *end; } Input;

static unsigned next(Input *input) { return input->at < input->end ? *input->at++ : 0; }

static int64_t time_of(unsigned byte)
{
    return byte == 255 ? NEVER : byte == 254 ? FORGOTTEN : byte == 253 ? INT64_MAX - 4
        : BASE_MS + (int64_t)byte * STEP_MS;
}

static double value_of(unsigned byte)
{
    static const uint64_t start_bits = START_BITS;
    double value = byte < 240 ? (double)byte - 20 : byte < 244 ? 1e308 : byte < 248 ? INFINITY
        : byte < 252 ? NAN : -0.0;
    if (byte >= 254)
        memcpy(&value, &start_bits, 8);
    return value;
}

static void *column(size_t count, size_t size)
{
    void *made = malloc(count * size + !count);
    assert(made);
    return made;
}

#define COLUMN(name, type, count, expression) \
    type *name = column(count, sizeof(type)); \
    for (size_t i = 0; i < (count); i++) { \
        unsigned byte = next(&input); \
        name[i] = (type)(expression); \
    }

/* A place in `count`, or one beside it. */
static int32_t place_of(unsigned byte, size_t count)
{
    return byte >= 250 ? (int32_t)byte - 252 : byte == 249 ? INT32_MAX : (int32_t)(byte % (count + 1)) - (byte & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input = {data, data + size};
    size_t series = next(&input) % 9, links = next(&input) % 17, outputs = next(&input) % 9;
    size_t targets = next(&input) % 4, places = next(&input) % 20;
    int64_t now_ms = time_of(next(&input) % 200);
    COLUMN(times, int64_t, series, time_of(byte))
    COLUMN(values, double, series, value_of(byte % 240))
    COLUMN(target, int32_t, series, place_of(byte, targets))
    COLUMN(link, int32_t, series, place_of(byte, links))
    COLUMN(begun, int64_t, series, byte < 128 ? 0 : time_of(byte - 128))
    COLUMN(first, int64_t, targets, time_of(byte))
    COLUMN(output, int32_t, links, place_of(byte, outputs))
    COLUMN(part, int8_t, links, byte % 3)
    COLUMN(after, int32_t, links, place_of(byte, links))
    COLUMN(kind, int8_t, outputs, byte % 5)
    COLUMN(start, int64_t, outputs, time_of(byte))
    COLUMN(every, int64_t, outputs, byte ? (int64_t)byte * 60000 : 0)
    COLUMN(scrapes, int32_t, outputs, place_of(byte, places))
    COLUMN(scrape_time, int64_t, places, time_of(byte))
    double *sums[6];
    for (size_t i = 0; i < 6; i++) {
        size_t count = i < 4 ? outputs : places;
        sums[i] = column(count, sizeof(double));
        for (size_t k = 0; k < count; k++)
            sums[i][k] = i == 2 ? INFINITY : i == 3 ? -INFINITY : 0;
    }
    int64_t *touched = column(outputs, sizeof(int64_t));
    memset(touched, 0, outputs * sizeof(int64_t));
    Columns c = {times, values, target, link, begun, series, first, targets, output, part, after,
                 links, kind, start, every, sums[0], sums[1], sums[2], sums[3], touched, scrapes,
                 outputs, scrape_time, sums[4], sums[5], places};

    size_t count = (size_t)(input.end - input.at) / 4, odd = (size_t)(input.end - input.at) % 4;
    uint8_t *records = column(count * RECORD_SIZE + odd, 1); /* odd: a record cut short */
    memset(records, 0, count * RECORD_SIZE + odd);
    for (size_t i = 0; i < count; i++) {
        uint32_t number = next(&input) % 10;
        int64_t time_ms = time_of(next(&input)) + next(&input) % 4;
        double value = value_of(next(&input));
        memcpy(records + i * RECORD_SIZE, &number, 4);
        memcpy(records + i * RECORD_SIZE + 4, &time_ms, 8);
        memcpy(records + i * RECORD_SIZE + 12, &value, 8);
    }
    int64_t before[8];
    memcpy(before, times, series * sizeof(int64_t));
    Folded folded = {0, 0, column(count * RECORD_SIZE + odd, 1), 0, column(series / 8 + 1, 1)};
    memset(folded.deferred, 0, series / 8 + 1);
    fold_records(records, count * RECORD_SIZE + odd, FUTURE_MS, now_ms, &c, &folded);

    assert(folded.rest_size % RECORD_SIZE == 0 && folded.rest_size <= count * RECORD_SIZE);
    assert(folded.repeated + folded.rest_size / RECORD_SIZE <= count && folded.resets <= count);
    size_t at = 0;
    for (size_t i = 0; i < count && at < folded.rest_size; i++) /* what is handed back is in order */
        if (!memcmp(records + i * RECORD_SIZE, folded.rest + at, RECORD_SIZE))
            at += RECORD_SIZE;
    assert(at == folded.rest_size);
    for (size_t i = 0; i < series; i++) {
        assert(times[i] >= before[i] && times[i] <= (before[i] > FUTURE_MS ? before[i] : FUTURE_MS));
        assert(before[i] > FORGOTTEN || times[i] == before[i]); /* a first sample is Python's */
    }
    void *all[] = {times, values, target, link, begun, first, output, part, after, kind, start,
                   every, scrapes, scrape_time, sums[0], sums[1], sums[2], sums[3], sums[4], sums[5],
                   touched, records, folded.rest, folded.deferred};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return 0;
}
