/* The kernel's core under libFuzzer: any bytes as a request, again and again on the same tables.

   Input: a byte for the version, a byte of choices, then a decompressed request. What is asserted
   is what receiver/native promises: every series has one end, every key is what was learnt, lines
   and records are as many and as long as was said. ASan and UBSan watch the rest.
   Built and run by tests/fuzz/native.py (`make fuzz`).
*/
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "renderer.h"

#define MOST 300
#define HEAD_SIZE 5
#define SOURCES 3

static Table unwanted, known;
static const uint64_t seed[2] = {0x1234567, 0x89abcdef};
static uint64_t runs;

static void begin(void)
{
    assert(!table_init(&unwanted, 1 << 14, seed) && !table_init(&known, 1 << 16, seed));
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    begin();
    return 0;
}

/* Decide about an unrecognised series as `choice` says, like a pipeline would. */
static void decide(Reading *reading, Item *item, unsigned choice)
{
    static const uint8_t bytes[64] = "template of a series that is as long as it may have to be here";
    Span key = item_key(reading, item), name = item_name(reading, item);
    Span template_ = span_of(bytes, choice & 8 ? choice % sizeof bytes : 0);
    uint32_t fold_number = choice & 16 ? choice : 0;
    uint16_t lane = choice & 32 ? choice % 7 : choice & 64 ? NO_LANE * !left(template_) : 0;
    assert(item->labels_size <= item->size && left(item_text(item)) == item->size);
    if (left(name) && (choice & 7) == 0) {
        assert(!table_put(&unwanted, name, span_of(NULL, 0), 0, 0, 0));
        item_drop(reading, item);
    } else if (left(key) && (choice & 7) < 5) {
        Series *series = series_new(key, template_, fold_number, choice % SOURCES, lane);
        assert(series && !table_put(&known, key, template_, fold_number, choice % SOURCES, lane));
        item_set(item, series);
    } else if ((choice & 7) < 7) {
        const Started samples[3] = {{{(int64_t)choice - 40, choice}, 0},
                                    {{INT64_MIN, NAN}, 1}, {{1, 0.5}, (int64_t)choice - 99}};
        Series *series = series_new(span_of(NULL, 0), template_, fold_number, choice % SOURCES, lane);
        assert(series && !item_set_samples(reading, item, series, samples, choice % 4));
    } /* else it stays without an end, as a refused series does */
}

/* Render all rows with texts of any size, in two parts, and hold the sizes to what was measured. */
static void render(Rows *rows, unsigned choice)
{
    size_t texts_size = 0, count = rows->count;
    uint8_t *texts = malloc(count * 8 + 1);
    Span *heads = malloc((rows->moment_count + 1) * sizeof(Span));
    static const uint8_t head[HEAD_SIZE + 3] = "headhead";
    assert(texts && heads);
    for (size_t i = 0; i < count; i++) {
        if (i)
            texts[texts_size++] = ',';
        for (size_t k = 0; k <= (choice + i) % 5; k++)
            texts[texts_size++] = '1';
    }
    for (size_t i = 0; i < rows->moment_count; i++)
        heads[i] = span_of(head, HEAD_SIZE);
    Span all = span_of(texts, texts_size), end = span_of("\n", 1);
    if (choice & 128 && texts_size) { /* one value's text is missing: refused, and nothing is written */
        all.end -= count > 1 ? (1 + (choice + count - 1) % 5 + 1) : texts_size;
        assert(rows_layout(rows, heads, all, end) == -2);
        all = span_of(texts, texts_size);
    }
    assert(!rows_layout(rows, heads, all, end));
    size_t middle = count ? choice % (count + 1) : 0;
    size_t size = rows_size(rows, 0, count);
    assert(size == rows_size(rows, 0, middle) + rows_size(rows, middle, count));
    uint8_t *text = malloc(size + 1);
    assert(text);
    rows_write(rows, heads, all, end, 0, middle, text);
    rows_write(rows, heads, all, end, middle, count, text + rows_size(rows, 0, middle));
    for (size_t i = 0; i < count; i++) {
        assert(rows->line_ends[i] <= size && text[rows->line_ends[i] - 1] == '\n');
        assert(rows->rows[i].series->template_size && isfinite(rows->rows[i].value));
        assert(rows->rows[i].moment < rows->moment_count);
        uint32_t lane = rows->moments[rows->rows[i].moment].lane;
        assert(lane == rows->rows[i].series->lane && lane < rows->lanes);
        assert(!i || rows->moments[rows->rows[i - 1].moment].lane <= lane);
    }
    free(text);
    free(heads);
    free(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (++runs % (1 << 16) == 0) {
        table_free(&unwanted);
        table_free(&known);
        begin();
    }
    unsigned choice = data[1];
    uint8_t *raw = malloc(size); /* of its own, so that a byte behind it is noticed */
    assert(raw);
    memcpy(raw, data + 2, size - 2);
    raw = realloc(raw, size - 2 ? size - 2 : 1);
    Reading reading;
    int taken = recognise(&reading, span_of(raw, size - 2), (data[0] & 1) + 1, &unwanted, &known,
                          choice & 64 ? 8 : MOST);
    assert(taken >= 0);
    if (taken) {
        size_t ends[4] = {0};
        for (size_t i = 0; i < reading.count; i++) {
            ends[reading.items[i].kind]++;
            if (reading.items[i].kind == UNRECOGNISED)
                decide(&reading, &reading.items[i], choice + 37 * (unsigned)i);
        }
        assert(ends[KNOWN] == reading.known && ends[SEVERAL] == 0 && ends[GONE] == 0);
        const int64_t floors[SOURCES] = {INT64_MIN, 1700000000000, INT64_MAX};
        const int has_floors = choice & 1;
        size_t folded = 0, rendered = 0, not_finite = 0, dropped = 0, kept = 0;
        for (size_t i = 0; i < reading.count; i++) {
            const Item *item = &reading.items[i];
            size_t count = item->kind == SEVERAL ? item->of.several.count : item->kind == KNOWN;
            for (size_t k = 0; k < count; k++) {
                const Started one = item->kind == SEVERAL
                    ? reading.samples[item->of.several.first + k]
                    : (Started){item->of.one.sample, item_start(item)};
                if (has_floors && one.sample.time_ms <= floors[item->series->source]) {
                    dropped++;
                    continue;
                }
                kept++;
                not_finite += !isfinite(one.sample.value);
                rendered += isfinite(one.sample.value) && item->series->template_size;
                if (isfinite(one.sample.value) && item->series->fold_number)
                    folded += 1 + (one.start_ms > 0);
            }
        }
        Rows rows;
        if (has_floors && kept + dropped) {
            size_t most = 0;
            for (size_t i = 0; i < reading.count; i++)
                if (reading.items[i].series && reading.items[i].series->source > most &&
                    (reading.items[i].kind == KNOWN || reading.items[i].of.several.count))
                    most = reading.items[i].series->source;
            assert(rows_collect(&rows, &reading, seed, floors, most) == -2); /* one too few */
            rows_free(&rows);
        }
        assert(!rows_collect(&rows, &reading, seed, has_floors ? floors : NULL, has_floors * SOURCES));
        for (size_t i = 0; i < rows.sources; i++) {
            assert(rows.accounts[i].newest_ms == INT64_MIN || rows.accounts[i].newest_ms > floors[i]);
            kept -= rows.accounts[i].kept;
            dropped -= rows.accounts[i].dropped;
        }
        assert(!has_floors || (!kept && !dropped));
        reading_free(&reading); /* the rows live on */
        assert(rows.count == rendered && rows.not_finite_count == not_finite);
        assert(rows.folded_size == folded * RECORD_SIZE && rows.folded_alone <= folded);
        render(&rows, choice);
        rows_free(&rows);
    }
    reading_free(&reading);
    free(raw);
    return 0;
}
