/* What the kernel's core makes of requests, printed: the same on every machine it is built for.

   Arguments: files, each a decompressed request behind a byte that is its version. Every file is
   read twice: first all its series are new, and learnt; then they are known. Of each reading the
   rows, the lines and the packed records are printed.
*/
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "renderer.h"

static Table unwanted, known;
static const uint64_t seed[2] = {0x1234567, 0x89abcdef};

static void hex(const char *what, const uint8_t *bytes, size_t size)
{
    printf("%s ", what);
    for (size_t i = 0; i < size; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

static void learn(Reading *reading, Item *item, uint32_t number)
{
    Span key = item_key(reading, item);
    static const uint8_t text[] = "template";
    if (!left(key) || number % 11 == 3)
        return; /* it stays without an end */
    Span template_ = span_of(text, number % 5 ? sizeof text - 1 : 0);
    uint32_t fold_number = number % 3 || number % 5 == 0 ? number * 2654435761u | 1 : 0;
    Series *series = series_new(key, template_, fold_number, 0, 0);
    assert(series && !table_put(&known, key, template_, fold_number, 0, 0));
    item_set(item, series);
}

static void print(Rows *rows)
{
    uint8_t *texts = malloc(rows->count * 32 + 1);
    Span *heads = malloc((rows->moment_count + 1) * sizeof(Span));
    char (*numbers)[32] = malloc((rows->moment_count + 1) * 32);
    size_t size = 0;
    assert(texts && heads && numbers);
    for (size_t i = 0; i < rows->count; i++)
        size += (size_t)sprintf((char *)texts + size, i ? ",%.17g" : "%.17g", rows->rows[i].value);
    for (size_t i = 0; i < rows->moment_count; i++)
        heads[i] = span_of((uint8_t *)numbers[i], (size_t)sprintf(numbers[i], "%" PRId64 " ", rows->moments[i].time_ms));
    Span all = span_of(texts, size), end = span_of((const uint8_t *)"\n", 1);
    assert(!rows_layout(rows, heads, all, end));
    size_t total = rows_size(rows, 0, rows->count);
    uint8_t *lines = malloc(total + 1);
    assert(lines);
    rows_write(rows, heads, all, end, 0, rows->count, lines);
    printf("%zu rows, %zu folded alone\n%.*s", rows->count, rows->folded_alone, (int)total, (char *)lines);
    hex("records", rows->folded, rows->folded_size);
    for (size_t i = 0; i < rows->not_finite_count; i++)
        hex("not finite", (const uint8_t *)&rows->not_finite[i], sizeof(double));
    free(lines);
    free(numbers);
    free(heads);
    free(texts);
}

int main(int count, char **files)
{
    static uint8_t bytes[1 << 20];
    assert(!table_init(&unwanted, 1 << 14, seed) && !table_init(&known, 1 << 22, seed));
    assert(!table_put(&unwanted, span_of((const uint8_t *)"up", 2), span_of(NULL, 0), 0, 0, 0));
    for (int file = 1; file < 2 * count - 1; file++) {
        FILE *opened = fopen(files[(file - 1) / 2 + 1], "rb");
        assert(opened);
        size_t size = fread(bytes, 1, sizeof bytes, opened);
        fclose(opened);
        /* At an odd address: nothing may depend on where a request lies. */
        uint8_t *raw = malloc(size + 1);
        assert(size && raw);
        memcpy(raw + 1, bytes + 1, size - 1);
        Reading reading;
        int taken = recognise(&reading, span_of(raw + 1, size - 1), bytes[0], &unwanted, &known, 100000);
        printf("file %d: %d; %zu series, %zu unselected, %zu known\n", file, taken, reading.series,
               reading.unselected, reading.known);
        for (size_t i = 0; taken && i < reading.count; i++)
            if (reading.items[i].kind == UNRECOGNISED)
                learn(&reading, &reading.items[i], (uint32_t)i + 1);
        Rows rows;
        if (taken) {
            assert(!rows_collect(&rows, &reading, seed, NULL, 0));
            print(&rows);
            rows_free(&rows);
        }
        reading_free(&reading);
        free(raw);
    }
    table_free(&unwanted);
    table_free(&known);
    return 0;
}
