/* The loops of the fast path, compiled: a request's bytes to lines, without an object a sample.

   In: a decompressed request and what is known of names and series. Out: a Reading: lines
   of all series that were recognised, and the strange ones, for receiver.compiled to take.
   What is recognised, and why that is sound, is told in receiver/fastpath.py, which does
   the same in Python and is held to the same results; what differs is told here.

   Rules of this file. Bytes that come from outside are read through `Span`, and no length
   is believed before it is compared with what is left. Nothing here refuses a request: what
   is not exactly the usual shape is strange, or (None) the whole request is. Sizes are
   bounded by the caller: at most `most` series, and symbols in proportion.

   Table: open addressing, linear probing, a hash with a secret seed, so that nobody can
   choose keys that collide. An entry holds key and value in one piece of memory. Readings
   hold references to entries, so that a table may forget while one is under way.
*/
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines; others run the same in Python"
#endif

#define LOAD_OF(slots) ((slots) / 2) /* half full at most: a probe is one look, mostly */
#define ENTRY_OVERHEAD 96            /* an entry's head, malloc's, and two slots of 16 bytes */
#define LINE_OVERHEAD 150            /* as in receiver/recognised.py */
#define KEY_LIMIT 65536
#define SPELT_LIMIT 4096             /* a key of 2.0: some bytes of references can name megabytes */
#define ARENA_LIMIT (32 << 20)       /* all of them, in one request */
#define AHEAD 8                      /* how far memory is asked for before it is needed */
#define TIME_SIZE 24                 /* 2026-11-22T10:32:29.365Z */

typedef struct { const uint8_t *at, *end; } Span;

static inline size_t left(Span s) { return (size_t)(s.end - s.at); }

/* Read a varint of at most 10 bytes; 0 where there is none. Protocol Buffers, "Base 128 Varints". */
static int varint(Span *s, uint64_t *value)
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

/* Read a tag or a length: at most 5 bytes, for the full parser refuses a longer one. */
static int short_varint(Span *s, uint64_t *value)
{
    const uint8_t *start = s->at;
    return varint(s, value) && s->at - start <= 5;
}

static int delimited(Span *s, Span *content)
{
    uint64_t size;
    if (!short_varint(s, &size) || size > left(*s))
        return 0;
    content->at = s->at;
    content->end = s->at += size;
    return 1;
}

/* ---- a hash: 16 bytes a step, multiplied to 128 bits and folded ---- */

static uint64_t secret[2];

static inline uint64_t load64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return v; }

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const uint8_t *at, size_t size)
{
    uint64_t hash = secret[0] ^ size;
    uint8_t tail[16] = {0};
    for (; size > 16; at += 16, size -= 16)
        hash = fold(load64(at) ^ secret[1], load64(at + 8) ^ hash);
    memcpy(tail, at, size);
    hash = fold(load64(tail) ^ secret[1], load64(tail + 8) ^ hash);
    return fold(hash ^ secret[0], secret[1] ^ 0x9e3779b97f4a7c15u);
}

/* ---- Table ---- */

typedef struct {
    uint32_t references, key_size, value_size;
    int used;
    uint8_t bytes[]; /* the key, then the value */
} Entry;

typedef struct { uint64_t hash; Entry *entry; } Slot;

typedef struct {
    PyObject_HEAD
    Slot *slots;
    size_t mask, entries, size_bytes, limit_bytes, misses;
} Table;

static void let_go(Entry *entry)
{
    if (entry && --entry->references == 0)
        PyMem_RawFree(entry);
}

static inline size_t cost_of(size_t key_size, size_t value_size)
{
    return key_size + value_size + ENTRY_OVERHEAD;
}

static Entry *table_find(const Table *table, const uint8_t *key, size_t size, uint64_t hash)
{
    for (size_t place = hash & table->mask;; place = (place + 1) & table->mask) {
        const Slot *slot = &table->slots[place];
        if (!slot->entry)
            return NULL;
        if (slot->hash == hash && slot->entry->key_size == size &&
            !memcmp(slot->entry->bytes, key, size)) {
            slot->entry->used = 1;
            return slot->entry;
        }
    }
}

static void table_place(Table *table, Slot added)
{
    size_t place = added.hash & table->mask;
    while (table->slots[place].entry)
        place = (place + 1) & table->mask;
    table->slots[place] = added;
}

/* Move to new slots, without those entries that nobody used since the last time, if `unused` go. */
static int table_rebuild(Table *table, size_t slots, int unused_go)
{
    Slot *before = table->slots, *made = PyMem_RawCalloc(slots, sizeof(Slot));
    if (!made)
        return -1;
    size_t before_slots = table->mask + 1;
    table->slots = made;
    table->mask = slots - 1;
    for (size_t i = 0; i < before_slots; i++) {
        Entry *entry = before[i].entry;
        if (!entry)
            continue;
        if (unused_go && !entry->used) {
            table->entries--;
            table->size_bytes -= cost_of(entry->key_size, entry->value_size);
            let_go(entry);
            continue;
        }
        if (unused_go)
            entry->used = 0;
        table_place(table, before[i]);
    }
    PyMem_RawFree(before);
    return 0;
}

static void table_forget_all(Table *table)
{
    for (size_t i = 0; i <= table->mask; i++)
        let_go(table->slots[i].entry);
    memset(table->slots, 0, (table->mask + 1) * sizeof(Slot));
    table->entries = table->size_bytes = 0;
}

/* Make room for one more: forget what was not used lately (newcomers are not, before they come
   again), and all if that frees less than a sixteenth: going over all is to pay for itself. */
static int table_make_room(Table *table, size_t cost)
{
    if (table->size_bytes + cost > table->limit_bytes) {
        if (table_rebuild(table, table->mask + 1, 1))
            return -1;
        if (table->size_bytes + cost > table->limit_bytes / 16 * 15)
            table_forget_all(table);
    }
    if (table->entries >= LOAD_OF(table->mask + 1))
        return table_rebuild(table, (table->mask + 1) * 2, 0);
    return 0;
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t limit;
    static char *names[] = {"limit_bytes", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n", names, &limit))
        return NULL;
    Table *table = (Table *)type->tp_alloc(type, 0);
    if (!table)
        return NULL;
    table->limit_bytes = limit > 0 ? (size_t)limit : 0;
    table->mask = 255;
    table->slots = PyMem_RawCalloc(table->mask + 1, sizeof(Slot));
    if (!table->slots) {
        Py_DECREF(table);
        return PyErr_NoMemory();
    }
    return (PyObject *)table;
}

static void table_dealloc(Table *table)
{
    if (table->slots)
        table_forget_all(table);
    PyMem_RawFree(table->slots);
    Py_TYPE(table)->tp_free((PyObject *)table);
}

static PyObject *table_get(Table *table, PyObject *arg)
{
    char *key;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(arg, &key, &size))
        return NULL;
    Entry *entry = table_find(table, (uint8_t *)key, size, hash_of((uint8_t *)key, size));
    if (!entry)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((char *)entry->bytes + entry->key_size, entry->value_size);
}

static PyObject *table_put(Table *table, PyObject *args)
{
    const char *key, *value;
    Py_ssize_t key_size, value_size;
    if (!PyArg_ParseTuple(args, "y#y#", &key, &key_size, &value, &value_size))
        return NULL;
    size_t cost = cost_of(key_size, value_size);
    uint64_t hash = hash_of((const uint8_t *)key, key_size);
    table->misses++;
    if (key_size > KEY_LIMIT || value_size > UINT32_MAX || cost > table->limit_bytes / 2 ||
        table_find(table, (const uint8_t *)key, key_size, hash))
        Py_RETURN_NONE; /* too large to keep, or kept already */
    Entry *entry = PyMem_RawMalloc(sizeof(Entry) + key_size + value_size);
    if (!entry || table_make_room(table, cost)) {
        PyMem_RawFree(entry);
        return PyErr_NoMemory();
    }
    *entry = (Entry){.references = 1, .key_size = key_size, .value_size = value_size};
    memcpy(entry->bytes, key, key_size);
    memcpy(entry->bytes + key_size, value, value_size);
    table_place(table, (Slot){hash, entry});
    table->entries++;
    table->size_bytes += cost;
    Py_RETURN_NONE;
}

static PyObject *table_statistics(Table *table, PyObject *Py_UNUSED(none))
{
    return Py_BuildValue("(nnnn)", table->entries, table->size_bytes, table->limit_bytes,
                         table->misses);
}

static PyMethodDef table_methods[] = {
    {"get", (PyCFunction)table_get, METH_O, "Return the value, or None."},
    {"put", (PyCFunction)table_put, METH_VARARGS, "Keep a value, if there is room for it."},
    {"statistics", (PyCFunction)table_statistics, METH_NOARGS,
     "Return entries, their bytes, the limit, and how often something was put in."},
    {NULL},
};

static PyTypeObject TableType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "receiver.kernel.Table",
    .tp_doc = "Bytes by bytes, bounded in bytes; what was not used lately is forgotten first.",
    .tp_basicsize = sizeof(Table),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = table_new,
    .tp_dealloc = (destructor)table_dealloc,
    .tp_methods = table_methods,
};

/* ---- Reading ---- */

enum { UNWANTED = 1, WANTED = 2 }; /* what the table of names holds */
enum Kind { USUAL, STRANGE, PLACED, GONE };

typedef struct {
    Span series, name;
    size_t key_at;      /* the key: in the series (1.0), or in the arena (2.0) */
    uint32_t key_size;  /* 0: the shape is not the usual one */
    uint8_t kind;
    uint64_t hash;
    double value;
    int64_t time_ms;
    Entry *entry;       /* whose value is the middle of the line */
    PyObject *given;    /* the middle (bytes), or the lines (a list of bytes) of a placed one */
} Item;

typedef struct {
    PyObject_HEAD
    PyObject *raw;
    Item *items;
    size_t count, room;        /* of items: the series that are not unselected */
    size_t series, unselected; /* of all series */
    uint8_t *arena;            /* keys of 2.0 */
    size_t arena_size, arena_room;
    Span *symbols;
    uint8_t *verdicts;         /* by symbol: 0 while nobody asked */
    size_t symbol_count, symbol_room;
} Reading;

static PyTypeObject ReadingType;

static void reading_dealloc(Reading *reading)
{
    for (size_t i = 0; i < reading->count; i++) {
        let_go(reading->items[i].entry);
        Py_XDECREF(reading->items[i].given);
    }
    PyMem_RawFree(reading->items);
    PyMem_RawFree(reading->arena);
    PyMem_RawFree(reading->symbols);
    PyMem_RawFree(reading->verdicts);
    Py_XDECREF(reading->raw);
    Py_TYPE(reading)->tp_free((PyObject *)reading);
}

/* Have room for `wanted` elements in all. Never moves what is there out of bounds; -1: no memory. */
static int grow(void **array, size_t *room, size_t wanted, size_t each)
{
    if (wanted <= *room)
        return 0;
    size_t more = *room * 2 > wanted ? *room * 2 : wanted + 1024;
    void *made = PyMem_RawRealloc(*array, more * each);
    if (!made)
        return -1;
    *array = made;
    *room = more;
    return 0;
}

static const uint8_t *key_of(const Reading *reading, const Item *item)
{
    return reading->arena ? reading->arena + item->key_at : item->series.at;
}

static int verdict_on(const Table *names, Span name)
{
    size_t size = left(name);
    if (!size)
        return 0;
    Entry *entry = table_find(names, name.at, size, hash_of(name.at, size));
    return entry ? entry->bytes[entry->key_size] : 0;
}

/* Read the sample that `tail` begins with: 12 10 09 dddddddddddddddd 10 tttttttttttt, or
   12 07 10 tttttttttttt where the value is 0. Returns its size, 0 for any other shape. */
static size_t sample_at(Span tail, Item *item)
{
    const uint8_t *at = tail.at;
    size_t size = left(tail), time_at;
    if (size >= 18 && at[0] == 0x12 && at[1] == 0x10 && at[2] == 0x09 && at[11] == 0x10) {
        memcpy(&item->value, at + 3, 8);
        time_at = 12;
    } else if (size >= 9 && at[0] == 0x12 && at[1] == 0x07 && at[2] == 0x10) {
        item->value = 0.0;
        time_at = 3;
    } else {
        return 0;
    }
    int64_t time_ms = 0;
    for (int i = 0; i < 6; i++) {
        uint8_t byte = at[time_at + i];
        if ((byte >= 0x80) != (i < 5))
            return 0;
        time_ms |= (int64_t)(byte & 0x7f) << (7 * i);
    }
    if (time_ms >> 35 == 0)
        return 0; /* six bytes that could be fewer: not how anyone spells it */
    item->time_ms = time_ms;
    return time_at + 6;
}

/* The name of a series of 1.0: 0a LL 0a 08 "__name__" 12 NN name, lengths below 80, LL = NN + 12. */
static Span name_v1(Span series)
{
    static const uint8_t before[] = "\x0a\x08__name__\x12";
    const uint8_t *at = series.at;
    size_t size = left(series);
    if (size < 14 || at[0] != 0x0a || at[1] >= 0x80 || memcmp(at + 2, before, 11) ||
        at[13] >= 0x80 || at[1] != at[13] + 12 || size < (size_t)at[1] + 2)
        return (Span){NULL, NULL};
    return (Span){at + 14, at + 14 + at[13]};
}

static void key_v1(Item *item)
{
    size_t size = left(item->series), shape = 0;
    if (size > 18 && sample_at((Span){item->series.end - 18, item->series.end}, item) == 18)
        shape = 18;
    if (size > 9 && item->series.end[-9] == 0x12 && item->series.end[-8] == 0x07)
        shape = shape ? 0 /* it could be either */
                      : sample_at((Span){item->series.end - 9, item->series.end}, item);
    item->key_at = 0;
    item->key_size = shape && size - shape <= KEY_LIMIT ? (uint32_t)(size - shape) : 0;
}

static Item *add_item(Reading *reading, Span series, Span name)
{
    if (grow((void **)&reading->items, &reading->room, reading->count + 1, sizeof(Item)))
        return NULL;
    Item *item = &reading->items[reading->count++];
    *item = (Item){.series = series, .name = name, .kind = STRANGE};
    return item;
}

static int take_v1(Reading *reading, const Table *names, Span series)
{
    Span name = name_v1(series);
    int verdict = verdict_on(names, name);
    if (verdict == UNWANTED) {
        reading->unselected++;
        return 0;
    }
    Item *item = add_item(reading, series, name);
    if (!item)
        return -1;
    if (left(name))
        key_v1(item);
    if (verdict == WANTED && item->key_size)
        item->kind = USUAL;
    return 0;
}

/* ---- remote-write 2.0: labels are numbers of symbols; the key is their texts, each with its size ---- */

static int spell_key(Reading *reading, Item *item, Span references)
{
    size_t start = reading->arena_size, count = 0;
    int is_right = 1;
    while (references.at < references.end) {
        uint64_t number;
        is_right = varint(&references, &number) && number < reading->symbol_count;
        if (!is_right)
            break;
        Span text = reading->symbols[number];
        size_t text_size = left(text);
        is_right = text_size + 4 <= SPELT_LIMIT - (reading->arena_size - start) &&
                   reading->arena_size + text_size + 4 <= ARENA_LIMIT;
        if (!is_right)
            break;
        uint32_t size = (uint32_t)text_size;
        if (grow((void **)&reading->arena, &reading->arena_room, reading->arena_size + size + 4, 1))
            return -1;
        memcpy(reading->arena + reading->arena_size, &size, 4);
        memcpy(reading->arena + reading->arena_size + 4, text.at, size);
        reading->arena_size += size + 4;
        count++;
    }
    if (!is_right || count % 2 || !count) {
        reading->arena_size = start;
        return 0;
    }
    item->key_at = start;
    item->key_size = (uint32_t)(reading->arena_size - start);
    return 0;
}

static int is_name_label(Span text)
{
    return left(text) == 8 && !memcmp(text.at, "__name__", 8);
}

static int take_v2(Reading *reading, const Table *names, Span series)
{
    Span references, rest = series, name = {NULL, NULL};
    Item found = {.series = series, .kind = STRANGE};
    int verdict = 0, is_usual = 0;
    if (left(series) >= 2 && series.at[0] == 0x0a && series.at[1] < 0x80) {
        rest.at++;
        uint64_t label, text;
        if (delimited(&rest, &references)) {
            Span reading_on = references;
            size_t size = sample_at(rest, &found);
            rest.at += size;
            /* behind the sample: nothing, or metadata without contents */
            is_usual = size && (!left(rest) || (left(rest) == 2 && rest.at[0] == 0x2a && !rest.at[1]));
            if (varint(&reading_on, &label) && varint(&reading_on, &text) &&
                label < reading->symbol_count && text < reading->symbol_count &&
                is_name_label(reading->symbols[label]) &&
                left(reading->symbols[text]) <= SPELT_LIMIT) { /* no key has a longer one */
                name = reading->symbols[text];
                if (!reading->verdicts[text])
                    reading->verdicts[text] = (uint8_t)verdict_on(names, name);
                verdict = reading->verdicts[text];
            }
        }
    }
    if (verdict == UNWANTED && is_usual) {
        reading->unselected++;
        return 0;
    }
    Item *item = add_item(reading, series, name);
    if (!item)
        return -1;
    found.name = name;
    *item = found;
    if (verdict == UNWANTED || !is_usual)
        return 0;
    if (spell_key(reading, item, references))
        return -1;
    if (verdict == WANTED && item->key_size)
        item->kind = USUAL;
    return 0;
}

/* ---- a whole request ---- */

static void look_up(Reading *reading, const Table *series)
{
    Item *items = reading->items;
    for (size_t i = 0; i < reading->count; i++) {
        if (!items[i].key_size)
            continue;
        items[i].hash = hash_of(key_of(reading, &items[i]), items[i].key_size);
        __builtin_prefetch(&series->slots[items[i].hash & series->mask]);
    }
    for (size_t i = 0; i < reading->count + AHEAD; i++) {
        if (i < reading->count && items[i].key_size) {
            const Entry *entry = series->slots[items[i].hash & series->mask].entry;
            if (entry) {
                __builtin_prefetch(entry);
                __builtin_prefetch((const char *)entry + 64);
                __builtin_prefetch((const char *)entry + 128);
            }
        }
        if (i < AHEAD || items[i - AHEAD].kind != USUAL)
            continue;
        Item *item = &items[i - AHEAD];
        item->entry = table_find(series, key_of(reading, item), item->key_size, item->hash);
        if (item->entry)
            item->entry->references++;
        else
            item->kind = STRANGE;
    }
}

/* Open a message one level deep. 1: as it should be; 0: unusual as a whole; -1: no memory. */
static int open_request(Reading *reading, Span raw, const Table *names, int version, size_t most)
{
    size_t symbols_most = 24 * most + 1024;
    for (int pass = version == 2 ? 0 : 1; pass < 2; pass++) {
        Span s = raw, content;
        while (s.at < s.end) {
            uint64_t tag;
            if (!short_varint(&s, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
                return 0;
            int is_series = tag == (version == 1 ? 0x0a : 0x2a);
            int is_symbol = version == 2 && tag == 0x22;
            if (is_series || is_symbol) {
                if (!delimited(&s, &content))
                    return 0;
                if (is_symbol && pass == 0) {
                    if (reading->symbol_count == symbols_most)
                        return 0;
                    if (grow((void **)&reading->symbols, &reading->symbol_room,
                             reading->symbol_count + 1, sizeof(Span)))
                        return -1;
                    reading->symbols[reading->symbol_count++] = content;
                } else if (is_series && pass == 1) {
                    if (reading->series++ == most)
                        return 0;
                    if ((version == 1 ? take_v1 : take_v2)(reading, names, content))
                        return -1;
                }
                continue;
            }
            uint64_t number = tag >> 3, skipped;
            if ((version == 1 && (number == 1 || number == 3)) ||
                (version == 2 && (number == 4 || number == 5)))
                return 0; /* metadata, or a field of another type than it should have */
            switch (tag & 7) {
            case 0:
                if (!varint(&s, &skipped))
                    return 0;
                break;
            case 1:
            case 5:
                if (left(s) < ((tag & 7) == 1 ? 8u : 4u))
                    return 0;
                s.at += (tag & 7) == 1 ? 8 : 4;
                break;
            case 2:
                if (!delimited(&s, &content))
                    return 0;
                break;
            default:
                return 0;
            }
        }
        if (pass == 0) {
            reading->verdicts = PyMem_RawCalloc(reading->symbol_count + 1, 1);
            if (!reading->verdicts)
                return -1;
        }
    }
    return reading->series > 0;
}

static PyObject *kernel_read(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *raw;
    Table *names, *series;
    int version;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(args, "SiO!O!n", &raw, &version, &TableType, &names, &TableType, &series,
                          &most))
        return NULL;
    Reading *reading = PyObject_New(Reading, &ReadingType);
    if (!reading)
        return NULL;
    memset((char *)reading + sizeof(PyObject), 0, sizeof(Reading) - sizeof(PyObject));
    reading->raw = Py_NewRef(raw);
    Span span = {(uint8_t *)PyBytes_AS_STRING(raw), NULL};
    span.end = span.at + PyBytes_GET_SIZE(raw);
    int opened = open_request(reading, span, names, version, most > 0 ? (size_t)most : 0);
    if (opened <= 0) {
        Py_DECREF(reading);
        if (opened < 0)
            return PyErr_NoMemory();
        Py_RETURN_NONE;
    }
    look_up(reading, series);
    return (PyObject *)reading;
}

/* ---- what Python asks a Reading ---- */

static PyObject *bytes_of(Span span)
{
    return PyBytes_FromStringAndSize((const char *)span.at, (Py_ssize_t)left(span));
}

static Item *strange_item(Reading *reading, Py_ssize_t place)
{
    if (place < 0 || (size_t)place >= reading->count || reading->items[place].kind != STRANGE) {
        PyErr_SetString(PyExc_IndexError, "no strange series has this place");
        return NULL;
    }
    return &reading->items[place];
}

static PyObject *reading_strange(Reading *reading, PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < reading->count; i++) {
        if (reading->items[i].kind != STRANGE)
            continue;
        PyObject *number = PyLong_FromSize_t(i);
        if (!number || PyList_Append(list, number))
            Py_CLEAR(list);
        Py_XDECREF(number);
    }
    return list;
}

static PyObject *reading_look(Reading *reading, PyObject *arg)
{
    Item *item = strange_item(reading, PyLong_AsSsize_t(arg));
    if (!item)
        return NULL;
    const uint8_t *key = key_of(reading, item);
    return Py_BuildValue("(NNN)", bytes_of(item->series), bytes_of(item->name),
                         bytes_of((Span){key, key + item->key_size}));
}

static PyObject *reading_drop(Reading *reading, PyObject *arg)
{
    Item *item = strange_item(reading, PyLong_AsSsize_t(arg));
    if (!item)
        return NULL;
    item->kind = GONE;
    reading->unselected++;
    Py_RETURN_NONE;
}

static PyObject *reading_give(Reading *reading, PyObject *args)
{
    Py_ssize_t place;
    PyObject *middle;
    if (!PyArg_ParseTuple(args, "nS", &place, &middle))
        return NULL;
    Item *item = strange_item(reading, place);
    if (!item)
        return NULL;
    if (!item->key_size) {
        PyErr_SetString(PyExc_ValueError, "this series has no sample of the usual shape");
        return NULL;
    }
    item->kind = USUAL;
    item->given = Py_NewRef(middle);
    Py_RETURN_NONE;
}

static PyObject *reading_place(Reading *reading, PyObject *args)
{
    Py_ssize_t place;
    PyObject *lines;
    if (!PyArg_ParseTuple(args, "nO!", &place, &PyList_Type, &lines))
        return NULL;
    Item *item = strange_item(reading, place);
    if (!item)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lines); i++) {
        if (!PyBytes_CheckExact(PyList_GET_ITEM(lines, i))) {
            PyErr_SetString(PyExc_TypeError, "lines are bytes");
            return NULL;
        }
    }
    item->given = PyList_GetSlice(lines, 0, PyList_GET_SIZE(lines)); /* ours: nobody changes it */
    if (!item->given)
        return NULL;
    item->kind = PLACED;
    Py_RETURN_NONE;
}

static Span middle_of(const Item *item)
{
    if (item->entry) {
        const uint8_t *at = item->entry->bytes + item->entry->key_size;
        return (Span){at, at + item->entry->value_size};
    }
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(item->given);
    return (Span){at, at + PyBytes_GET_SIZE(item->given)};
}

static PyObject *reading_values(Reading *reading, PyObject *Py_UNUSED(none))
{
    size_t count = 0, place = 0;
    for (size_t i = 0; i < reading->count; i++)
        count += reading->items[i].kind == USUAL;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < reading->count; i++) {
        if (reading->items[i].kind != USUAL)
            continue;
        PyObject *value = PyFloat_FromDouble(reading->items[i].value);
        if (!value)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)place++, value);
    }
    return list;
}

/* Spell a time of six varint bytes, 1971 to 2109. Days to dates: H. Hinnant, "chrono-compatible
   low-level date algorithms", civil_from_days. */
static void spell_time(int64_t time_ms, char *to)
{
    int64_t days = time_ms / 86400000, ms = time_ms % 86400000;
    int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int day = (int)(doy - (153 * mp + 2) / 5 + 1), month = (int)(mp < 10 ? mp + 3 : mp - 9);
    int year = (int)(yoe + era * 400 + (month <= 2)), rest = (int)ms;
    const int numbers[] = {year / 100, year % 100, month, day, rest / 3600000,
                           rest / 60000 % 60, rest / 1000 % 60};
    static const int places[] = {0, 2, 5, 8, 11, 14, 17};
    memcpy(to, "0000-00-00T00:00:00.000Z", TIME_SIZE);
    for (int i = 0; i < 7; i++) {
        to[places[i]] = (char)('0' + numbers[i] / 10);
        to[places[i] + 1] = (char)('0' + numbers[i] % 10);
    }
    rest %= 1000;
    to[20] = (char)('0' + rest / 100);
    to[21] = (char)('0' + rest / 10 % 10);
    to[22] = (char)('0' + rest % 10);
}

typedef struct { PyObject *chunks, *bytes; /* the list, and the chunk that is being written */ } Writer;

/* One line, of several parts; `parts` is what a line is made of, in its order. */
typedef struct { Span parts[6]; int count; } Line;

static size_t size_of(const Line *line)
{
    size_t size = 0;
    for (int i = 0; i < line->count; i++)
        size += left(line->parts[i]);
    return size;
}

static int finish_chunk(Writer *writer, size_t items)
{
    if (!writer->bytes)
        return 0;
    PyObject *pair = Py_BuildValue("(Nn)", writer->bytes, (Py_ssize_t)items);
    writer->bytes = NULL;
    int failed = !pair || PyList_Append(writer->chunks, pair);
    Py_XDECREF(pair);
    return failed ? -1 : 0;
}

/* Goes over the lines of all series in their order: first to measure, then to write. */
typedef struct {
    Reading *reading;
    Span texts;              /* the values' */
    Span start, common, end; /* of each line: before its time, behind it, and behind its value */
    size_t place, of_placed;
    int64_t spelt_ms;
    char time_text[TIME_SIZE];
} Walk;

/* Set the next line; 0 when there is none, -1 where the texts are not those of the values. */
static int next_line(Walk *walk, Line *line)
{
    for (; walk->place < walk->reading->count; walk->place++, walk->of_placed = 0) {
        Item *item = &walk->reading->items[walk->place];
        if (walk->place + AHEAD < walk->reading->count) {
            const Item *soon = &walk->reading->items[walk->place + AHEAD];
            if (soon->entry)
                for (int line_of_cache = 0; line_of_cache < 10; line_of_cache++)
                    __builtin_prefetch(soon->entry->bytes + soon->entry->key_size + 64 * line_of_cache);
        }
        if (item->kind == PLACED && (Py_ssize_t)walk->of_placed < PyList_GET_SIZE(item->given)) {
            PyObject *text = PyList_GET_ITEM(item->given, (Py_ssize_t)walk->of_placed++);
            const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(text);
            line->parts[0] = (Span){at, at + PyBytes_GET_SIZE(text)};
            line->count = 1;
            return 1;
        }
        if (item->kind != USUAL)
            continue;
        const uint8_t *comma = memchr(walk->texts.at, ',', left(walk->texts));
        Span text = {walk->texts.at, comma ? comma : walk->texts.end};
        if (!left(text))
            return -1;
        walk->texts.at = comma ? comma + 1 : walk->texts.end;
        if (!isfinite(item->value))
            continue;
        if (item->time_ms != walk->spelt_ms) {
            spell_time(item->time_ms, walk->time_text);
            walk->spelt_ms = item->time_ms;
        }
        const uint8_t *time_at = (const uint8_t *)walk->time_text;
        line->parts[0] = walk->start;
        line->parts[1] = (Span){time_at, time_at + TIME_SIZE};
        line->parts[2] = walk->common;
        line->parts[3] = middle_of(item);
        line->parts[4] = text;
        line->parts[5] = walk->end;
        line->count = 6;
        walk->place++;
        walk->of_placed = 0;
        return 1;
    }
    return 0;
}

/* Cut as receiver.batch.cut does: a chunk takes lines while both bounds hold, and at least one. */
static PyObject *reading_render(Reading *reading, PyObject *args)
{
    Walk measuring = {.reading = reading, .spelt_ms = -1};
    const char *texts, *start, *common, *end;
    Py_ssize_t texts_size, start_size, common_size, end_size, most_items, most_bytes;
    if (!PyArg_ParseTuple(args, "y#y#y#y#nn", &texts, &texts_size, &start, &start_size, &common,
                          &common_size, &end, &end_size, &most_items, &most_bytes))
        return NULL;
    measuring.texts = (Span){(uint8_t *)texts, (uint8_t *)texts + texts_size};
    measuring.start = (Span){(uint8_t *)start, (uint8_t *)start + start_size};
    measuring.common = (Span){(uint8_t *)common, (uint8_t *)common + common_size};
    measuring.end = (Span){(uint8_t *)end, (uint8_t *)end + end_size};
    Walk writing = measuring;
    Writer writer = {.chunks = PyList_New(0)};
    if (!writer.chunks)
        return NULL;
    Line line;
    size_t items = 0, size = 0;
    int more = 1;
    while (more > 0) {
        more = next_line(&measuring, &line);
        size_t next = more > 0 ? size_of(&line) : 0;
        int is_full = items && (more <= 0 || items == (size_t)most_items ||
                                size + next > (size_t)most_bytes);
        if (is_full) {
            writer.bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
            if (!writer.bytes)
                goto failed;
            char *at = PyBytes_AS_STRING(writer.bytes);
            for (size_t i = 0; i < items; i++) {
                if (next_line(&writing, &line) <= 0)
                    goto failed;
                for (int part = 0; part < line.count; part++) {
                    memcpy(at, line.parts[part].at, left(line.parts[part]));
                    at += left(line.parts[part]);
                }
            }
            if (finish_chunk(&writer, items))
                goto failed;
            items = size = 0;
        }
        items++;
        size += next;
    }
    if (more < 0 || measuring.texts.at != measuring.texts.end) {
        PyErr_SetString(PyExc_ValueError, "the texts are not those of the values");
        goto failed;
    }
    return writer.chunks;
failed:
    Py_XDECREF(writer.bytes);
    Py_DECREF(writer.chunks);
    return NULL;
}

/* Over the usual series: the finite ones' oldest and newest time (0, 0: none), the others' values,
   and how many bytes rendering will take. */
static PyObject *reading_measure(Reading *reading, PyObject *Py_UNUSED(none))
{
    int64_t oldest = 0, newest = 0;
    size_t size = 0, finite = 0;
    PyObject *others = PyList_New(0);
    for (size_t i = 0; others && i < reading->count; i++) {
        const Item *item = &reading->items[i];
        if (item->kind != USUAL)
            continue;
        size += left(middle_of(item)) + LINE_OVERHEAD;
        if (!isfinite(item->value)) {
            PyObject *value = PyFloat_FromDouble(item->value);
            if (!value || PyList_Append(others, value))
                Py_CLEAR(others);
            Py_XDECREF(value);
            continue;
        }
        oldest = !finite || item->time_ms < oldest ? item->time_ms : oldest;
        newest = !finite || item->time_ms > newest ? item->time_ms : newest;
        finite++;
    }
    if (!others)
        return NULL;
    return Py_BuildValue("(nLLnN)", finite, (long long)oldest, (long long)newest, size, others);
}

static PyObject *reading_symbols(Reading *reading, PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New((Py_ssize_t)reading->symbol_count);
    for (size_t i = 0; list && i < reading->symbol_count; i++) {
        PyObject *text = bytes_of(reading->symbols[i]);
        if (!text)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, text);
    }
    return list;
}

static PyObject *reading_counts(Reading *reading, PyObject *Py_UNUSED(none))
{
    return Py_BuildValue("(nn)", reading->series, reading->unselected);
}

static PyMethodDef reading_methods[] = {
    {"counts", (PyCFunction)reading_counts, METH_NOARGS, "Return how many series there are, and how many of them nobody wants."},
    {"strange", (PyCFunction)reading_strange, METH_NOARGS, "Return the places of the series that are not recognised."},
    {"look", (PyCFunction)reading_look, METH_O, "Return a strange series' bytes, its name, and its key; these two empty where the shape is not the usual one."},
    {"drop", (PyCFunction)reading_drop, METH_O, "Count a strange series as unselected."},
    {"give", (PyCFunction)reading_give, METH_VARARGS, "Give a strange series of the usual shape the middle of its line."},
    {"place", (PyCFunction)reading_place, METH_VARARGS, "Put finished lines in a strange series' place."},
    {"symbols", (PyCFunction)reading_symbols, METH_NOARGS, "Return the symbols of 2.0."},
    {"values", (PyCFunction)reading_values, METH_NOARGS, "Return the recognised series' values, in their order."},
    {"measure", (PyCFunction)reading_measure, METH_NOARGS, "Return finite lines, oldest and newest of their times, bytes to render, values that are not finite."},
    {"render", (PyCFunction)reading_render, METH_VARARGS, "Return chunks, as pairs of text and items; takes the values' texts, what comes before a time, behind it and behind a value, and a chunk's bounds."},
    {NULL},
};

static PyTypeObject ReadingType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "receiver.kernel.Reading",
    .tp_doc = "One request, opened: made by `read`.",
    .tp_basicsize = sizeof(Reading),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)reading_dealloc,
    .tp_methods = reading_methods,
};

static PyMethodDef kernel_functions[] = {
    {"read", kernel_read, METH_VARARGS, "Open a request (bytes, version, names, series, most series); None for an unusual one."},
    {NULL},
};

static struct PyModuleDef kernel_module = {
    PyModuleDef_HEAD_INIT, .m_name = "receiver.kernel",
    .m_doc = "The fast path's loops, compiled.", .m_size = -1, .m_methods = kernel_functions,
};

PyMODINIT_FUNC PyInit_kernel(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *bytes = os ? PyObject_CallMethod(os, "urandom", "n", (Py_ssize_t)sizeof secret) : NULL;
    Py_XDECREF(os);
    if (!bytes)
        return NULL;
    memcpy(secret, PyBytes_AS_STRING(bytes), sizeof secret);
    Py_DECREF(bytes);
    secret[0] |= 1;
    secret[1] |= 1;
    if (PyType_Ready(&TableType) || PyType_Ready(&ReadingType))
        return NULL;
    PyObject *module = PyModule_Create(&kernel_module);
    if (module && PyModule_AddObjectRef(module, "Table", (PyObject *)&TableType)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
