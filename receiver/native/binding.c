/* The Python module receiver.kernel: converts arguments and results of the core, without logic.

   Limited API of Python 3.11, heap types, multi-phase initialisation: one build runs on every later
   Python. The objects are changed without a lock, so free-threading is refused: where Python has
   no GIL, importing this turns it on again. The receiver uses them in one thread.
*/
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include "fold.h"
#include "renderer.h"

typedef struct {
    PyTypeObject *table_type, *reading_type, *rows_type;
    uint64_t seed[2];
} State;

typedef struct { PyObject_HEAD Table table; } TableObject;

typedef struct {
    PyObject_HEAD
    PyObject *module;
    Py_buffer raw; /* the items point into it */
    Reading reading;
    int is_collected;       /* its items are final */
} ReadingObject;

typedef struct {
    PyObject_HEAD
    PyObject *heads, *texts, *end; /* the arguments of `layout`; NULL before it */
    Rows rows;
} RowsObject;

/* ---- helpers ---- */

static State *state_of(PyObject *module) { return PyModule_GetState(module); }

/* Return the module's state, from an instance of one of its types. */
static State *state_from(PyObject *self) { return PyType_GetModuleState(Py_TYPE(self)); }

static int span_from(PyObject *bytes, Span *span)
{
    char *at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(bytes, &at, &size))
        return -1;
    *span = span_of(at, (size_t)size);
    return 0;
}

static PyObject *bytes_of(Span span)
{
    return PyBytes_FromStringAndSize((const char *)span.at, (Py_ssize_t)left(span));
}

static void *allocate(PyTypeObject *type)
{
    allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return make(type, 0);
}

static void deallocate(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- Table ---- */

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t limit;
    static char *names[] = {"limit_bytes", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n", names, &limit))
        return NULL;
    TableObject *self = allocate(type);
    if (!self)
        return NULL;
    State *state = state_from((PyObject *)self);
    if (table_init(&self->table, limit > 0 ? (size_t)limit : 0, state->seed)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void table_dealloc(PyObject *self)
{
    table_free(&((TableObject *)self)->table);
    deallocate(self);
}

static PyObject *table_get(PyObject *self, PyObject *arg)
{
    const Table *table = &((TableObject *)self)->table;
    Span key;
    if (span_from(arg, &key))
        return NULL;
    const Series *series = table_find(table, key, table_hash(table, key));
    if (!series)
        Py_RETURN_NONE;
    return Py_BuildValue("(NIHH)", bytes_of(template_of(series)), series->fold_number,
                         series->source, series->lane);
}

static PyObject *table_keep(PyObject *self, PyObject *args)
{
    PyObject *key_bytes, *template_bytes = NULL;
    unsigned int fold_number = 0;
    unsigned short source = 0, lane = 0;
    Span key, template_ = {NULL, NULL};
    if (!PyArg_ParseTuple(args, "S|SIHH", &key_bytes, &template_bytes, &fold_number, &source,
                          &lane) ||
        span_from(key_bytes, &key) || (template_bytes && span_from(template_bytes, &template_)))
        return NULL;
    if (table_put(&((TableObject *)self)->table, key, template_, fold_number, source, lane))
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *table_forget(PyObject *self, PyObject *Py_UNUSED(none))
{
    table_clear(&((TableObject *)self)->table);
    Py_RETURN_NONE;
}

static PyObject *table_statistics(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Table *table = &((TableObject *)self)->table;
    return Py_BuildValue("(nnnn)", (Py_ssize_t)table->entries, (Py_ssize_t)table->size_bytes,
                         (Py_ssize_t)table->limit_bytes, (Py_ssize_t)table->misses);
}

static PyMethodDef table_methods[] = {
    {"get", table_get, METH_O, "Return a series' template, fold number, source and lane, or None."},
    {"put", table_keep, METH_VARARGS,
     "Add a series by its key: template, fold number, source and lane; too large ones are not "
     "kept."},
    {"clear", table_forget, METH_NOARGS, "Remove all series."},
    {"statistics", table_statistics, METH_NOARGS,
     "Return the numbers of entries, of their bytes, the limit, and the number of additions."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "Series by key, bounded in bytes; those not used lately are evicted first."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "receiver.kernel.Table",
    .basicsize = sizeof(TableObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = table_slots,
};

/* ---- Reading ---- */

static PyObject *kernel_read(PyObject *module, PyObject *args)
{
    State *state = state_of(module);
    PyObject *raw, *unwanted, *series;
    int version;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(args, "OiO!O!n", &raw, &version, state->table_type, &unwanted,
                          state->table_type, &series, &most))
        return NULL;
    ReadingObject *self = allocate(state->reading_type);
    if (!self)
        return NULL;
    if (PyObject_GetBuffer(raw, &self->raw, PyBUF_SIMPLE)) {
        Py_DECREF(self);
        return NULL;
    }
    Span span = span_of(self->raw.buf, (size_t)self->raw.len);
    self->module = Py_NewRef(module);
    int taken = recognise(&self->reading, span, version, &((TableObject *)unwanted)->table,
                          &((TableObject *)series)->table, most > 0 ? (size_t)most : 0);
    if (taken == 1)
        return (PyObject *)self;
    Py_DECREF(self);
    if (taken < 0)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static void reading_dealloc(PyObject *self)
{
    ReadingObject *object = (ReadingObject *)self;
    reading_free(&object->reading);
    if (object->raw.obj)
        PyBuffer_Release(&object->raw);
    Py_XDECREF(object->module);
    deallocate(self);
}

/* Return the unrecognised item at an index; NULL with an exception for any other. */
static Item *unrecognised_item(PyObject *self, Py_ssize_t index)
{
    ReadingObject *object = (ReadingObject *)self;
    Reading *reading = &object->reading;
    if (PyErr_Occurred())
        return NULL;
    if (object->is_collected || index < 0 || (size_t)index >= reading->count ||
        reading->items[index].kind != UNRECOGNISED) {
        PyErr_SetString(PyExc_IndexError, "no unrecognised series has this index");
        return NULL;
    }
    return &reading->items[index];
}

static PyObject *reading_counts(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Reading *reading = &((ReadingObject *)self)->reading;
    return Py_BuildValue("(nnnnnn)", (Py_ssize_t)reading->series, (Py_ssize_t)reading->unselected,
                         (Py_ssize_t)reading->unselected_samples,
                         (Py_ssize_t)reading->known, (Py_ssize_t)reading->known_rendered,
                         (Py_ssize_t)reading->known_template_bytes);
}

static PyObject *reading_unrecognised(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Reading *reading = &((ReadingObject *)self)->reading;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < reading->count; i++) {
        if (reading->items[i].kind != UNRECOGNISED)
            continue;
        PyObject *number = PyLong_FromSize_t(i);
        if (!number || PyList_Append(list, number))
            Py_CLEAR(list);
        Py_XDECREF(number);
    }
    return list;
}

static PyObject *reading_series_at(PyObject *self, PyObject *arg)
{
    const Reading *reading = &((ReadingObject *)self)->reading;
    const Item *item = unrecognised_item(self, PyLong_AsSsize_t(arg));
    if (!item)
        return NULL;
    return Py_BuildValue("(NNnN)", bytes_of(item_text(item)), bytes_of(item_name(reading, item)),
                         (Py_ssize_t)item->labels_size, bytes_of(item_key(reading, item)));
}

static PyObject *reading_skip(PyObject *self, PyObject *arg)
{
    Item *item = unrecognised_item(self, PyLong_AsSsize_t(arg));
    if (!item)
        return NULL;
    return PyLong_FromSize_t(item_drop(&((ReadingObject *)self)->reading, item));
}

/* Read a list of (time in ms, value, start in ms), which the caller frees. NULL with an exception. */
static Started *samples_from(PyObject *list, size_t *count)
{
    Py_ssize_t size = PyList_Size(list);
    Started *samples = size < 0 ? NULL : malloc(((size_t)size + 1) * sizeof(Started));
    if (!samples)
        return size < 0 ? NULL : (Started *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < size; i++) {
        long long time_ms, start_ms;
        PyObject *pair = PyList_GetItem(list, i);
        if (!pair || !PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "samples are triples of time, value and start");
            goto failed;
        }
        if (!PyArg_ParseTuple(pair, "LdL", &time_ms, &samples[i].sample.value, &start_ms))
            goto failed;
        samples[i].sample.time_ms = time_ms;
        samples[i].start_ms = start_ms;
    }
    *count = (size_t)size;
    return samples;
failed:
    free(samples);
    return NULL;
}

static PyObject *reading_set_template(PyObject *self, PyObject *args)
{
    Reading *reading = &((ReadingObject *)self)->reading;
    Py_ssize_t index;
    PyObject *template_bytes, *list = NULL;
    unsigned int fold_number;
    unsigned short source = 0, lane = 0;
    Span template_;
    Started *samples = NULL;
    size_t count = 0;
    if (!PyArg_ParseTuple(args, "nSI|HHO!", &index, &template_bytes, &fold_number, &source, &lane,
                          &PyList_Type, &list) ||
        span_from(template_bytes, &template_) || (list && !(samples = samples_from(list, &count))))
        return NULL;
    Item *item = unrecognised_item(self, index);
    Series *series =
        item ? series_new((Span){NULL, NULL}, template_, fold_number, source, lane) : NULL;
    PyObject *result = NULL;
    if (!item)
        goto done;
    if (!list && !item->key_size) {
        PyErr_SetString(PyExc_ValueError, "this series has no sample of the usual shape");
        goto done;
    }
    if (!series || (list && item_set_samples(reading, item, series, samples, count))) {
        PyErr_NoMemory();
        goto done;
    }
    if (!list)
        item_set(item, series);
    series = NULL; /* it is the item's now */
    result = Py_NewRef(Py_None);
done:
    series_release(series);
    free(samples);
    return result;
}

static PyObject *reading_symbols(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Reading *reading = &((ReadingObject *)self)->reading;
    PyObject *list = PyList_New((Py_ssize_t)reading->symbol_count);
    for (size_t i = 0; list && i < reading->symbol_count; i++) {
        PyObject *text = bytes_of(reading->symbols[i]);
        if (!text || PyList_SetItem(list, (Py_ssize_t)i, text))
            Py_CLEAR(list);
    }
    return list;
}

/* Return the sources of all recognised series, in ascending order. */
static PyObject *reading_sources(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Reading *reading = &((ReadingObject *)self)->reading;
    uint8_t seen[(UINT16_MAX + 1) / 8] = {0};
    for (size_t i = 0; i < reading->count; i++)
        if (reading->items[i].series)
            seen[reading->items[i].series->source / 8] |= (uint8_t)(1 << reading->items[i].series->source % 8);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < sizeof seen * 8; i++) {
        if (!seen[i / 8]) {
            i |= 7; /* on to the next eight */
            continue;
        }
        if (!(seen[i / 8] >> i % 8 & 1))
            continue;
        PyObject *number = PyLong_FromSize_t(i);
        if (!number || PyList_Append(list, number))
            Py_CLEAR(list);
        Py_XDECREF(number);
    }
    return list;
}

static PyObject *reading_rows(PyObject *self, PyObject *args)
{
    ReadingObject *object = (ReadingObject *)self;
    State *state = state_of(object->module);
    PyObject *floors = NULL;
    Span span = {NULL, NULL};
    int64_t *times = NULL;
    if (!PyArg_ParseTuple(args, "|S", &floors) || (floors && span_from(floors, &span)))
        return NULL;
    if (floors) { /* copied: its bytes need not be aligned */
        if (!(times = malloc(left(span) + sizeof *times)))
            return PyErr_NoMemory();
        memcpy(times, span.at, left(span));
    }
    RowsObject *made = allocate(state->rows_type);
    int failed = made ? rows_collect(&made->rows, &object->reading, state->seed, times,
                                     left(span) / sizeof *times) : 0;
    free(times);
    if (!made)
        return NULL;
    if (failed) {
        Py_DECREF(made);
        if (failed == -1)
            return PyErr_NoMemory();
        PyErr_SetString(PyExc_ValueError, "a series has a source without a floor");
        return NULL;
    }
    object->is_collected = 1;
    return (PyObject *)made;
}

static PyMethodDef reading_methods[] = {
    {"counts", reading_counts, METH_NOARGS,
     "Return the numbers of series, unselected series, their samples, known series, and rendered known "
     "series, and the bytes of the known ones' templates."},
    {"unrecognised", reading_unrecognised, METH_NOARGS, "Return the unrecognised series' indices."},
    {"series_at", reading_series_at, METH_O,
     "Return an unrecognised series' bytes, its name, the size of its label section, and its key; "
     "empty and 0 for an unusual shape."},
    {"skip", reading_skip, METH_O, "Count an unrecognised series as unselected; returns the number of its samples."},
    {"set_template", reading_set_template, METH_VARARGS,
     "Set an unrecognised series' template, fold number, source and lane, and, for an unusual shape, "
     "its samples: triples of time, value and start timestamp (0: none)."},
    {"symbols", reading_symbols, METH_NOARGS, "Return the symbols of 2.0."},
    {"sources", reading_sources, METH_NOARGS, "Return the sources of all recognised series."},
    {"rows", reading_rows, METH_VARARGS,
     "Return the rows of all recognised series; with floors (i64, one for each source) without "
     "samples up to their source's."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reading_slots[] = {
    {Py_tp_doc, "One request, opened: made by `read`."},
    {Py_tp_dealloc, reading_dealloc},
    {Py_tp_methods, reading_methods},
    {0, NULL},
};

static PyType_Spec reading_spec = {
    .name = "receiver.kernel.Reading",
    .basicsize = sizeof(ReadingObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = reading_slots,
};

/* ---- Rows ---- */

static void rows_dealloc(PyObject *self)
{
    RowsObject *object = (RowsObject *)self;
    rows_free(&object->rows);
    Py_XDECREF(object->heads);
    Py_XDECREF(object->texts);
    Py_XDECREF(object->end);
    deallocate(self);
}

static Py_ssize_t rows_length(PyObject *self)
{
    return (Py_ssize_t)((RowsObject *)self)->rows.count;
}

static PyObject *rows_folded(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    return Py_BuildValue("(NnL)", bytes_of(span_of(rows->folded, rows->folded_size)),
                         (Py_ssize_t)rows->folded_alone, (long long)rows->folded_newest_ms);
}

static PyObject *floats(const double *at, size_t count, size_t stride)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *number = PyFloat_FromDouble(*(const double *)((const char *)at + i * stride));
        if (!number || PyList_SetItem(list, (Py_ssize_t)i, number))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *rows_values(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    return floats(rows->count ? &rows->rows->value : NULL, rows->count, sizeof(Row));
}

static PyObject *rows_not_finite(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    return floats(rows->not_finite, rows->not_finite_count, sizeof(double));
}

/* Return, for each source with samples, the numbers of kept and dropped ones, and the latest time of
   a kept one that is finite. */
static PyObject *rows_accounts(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < rows->sources; i++) {
        const Account *account = &rows->accounts[i];
        if (!account->kept && !account->dropped)
            continue;
        PyObject *made = Py_BuildValue("(nnnL)", (Py_ssize_t)i, (Py_ssize_t)account->kept,
                                       (Py_ssize_t)account->dropped, (long long)account->newest_ms);
        if (!made || PyList_Append(list, made))
            Py_CLEAR(list);
        Py_XDECREF(made);
    }
    return list;
}

/* Return a number of each moment. */
static PyObject *of_moments(PyObject *self, PyObject *(*number_of)(const Moment *))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    PyObject *list = PyList_New((Py_ssize_t)rows->moment_count);
    for (size_t i = 0; list && i < rows->moment_count; i++) {
        PyObject *number = number_of(&rows->moments[i]);
        if (!number || PyList_SetItem(list, (Py_ssize_t)i, number))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *time_of(const Moment *moment)
{
    return PyLong_FromLongLong(moment->time_ms);
}

static PyObject *lane_of(const Moment *moment)
{
    return PyLong_FromSize_t(moment->lane);
}

static PyObject *rows_times(PyObject *self, PyObject *Py_UNUSED(none))
{
    return of_moments(self, time_of);
}

static PyObject *rows_lanes(PyObject *self, PyObject *Py_UNUSED(none))
{
    return of_moments(self, lane_of);
}

/* Return the first row of each lane, and the row after its last: rows are sorted by lane. */
static PyObject *rows_spans(PyObject *self, PyObject *Py_UNUSED(none))
{
    const Rows *rows = &((RowsObject *)self)->rows;
    PyObject *list = PyList_New(0);
    size_t first = 0;
    while (list && first < rows->count) {
        uint32_t lane = rows->moments[rows->rows[first].moment].lane;
        size_t stop = rows->lanes > 1 ? first : rows->count;
        while (stop < rows->count && rows->moments[rows->rows[stop].moment].lane == lane)
            stop++;
        PyObject *span = Py_BuildValue("(Inn)", lane, (Py_ssize_t)first, (Py_ssize_t)stop);
        if (!span || PyList_Append(list, span))
            Py_CLEAR(list);
        Py_XDECREF(span);
        first = stop;
    }
    return list;
}

static PyObject *rows_unrouted(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromSize_t(((RowsObject *)self)->rows.unrouted);
}

/* Return the heads as spans, which the caller frees; NULL with an exception. */
static Span *heads_of(PyObject *heads, size_t expected)
{
    if ((size_t)PyTuple_Size(heads) != expected) {
        PyErr_SetString(PyExc_ValueError, "a head for each moment");
        return NULL;
    }
    Span *spans = malloc((expected + 1) * sizeof(Span));
    if (!spans)
        return (Span *)PyErr_NoMemory();
    for (size_t i = 0; i < expected; i++) {
        PyObject *head = PyTuple_GetItem(heads, (Py_ssize_t)i);
        if (!head || span_from(head, &spans[i])) {
            free(spans);
            return NULL;
        }
    }
    return spans;
}

static PyObject *rows_measure(PyObject *self, PyObject *args)
{
    RowsObject *object = (RowsObject *)self;
    Rows *rows = &object->rows;
    PyObject *heads, *texts, *end;
    Span texts_span, end_span, *spans;
    if (!PyArg_ParseTuple(args, "O!SS", &PyTuple_Type, &heads, &texts, &end) ||
        span_from(texts, &texts_span) || span_from(end, &end_span) ||
        !(spans = heads_of(heads, rows->moment_count)))
        return NULL;
    PyObject *before[] = {object->heads, object->texts, object->end};
    object->heads = object->texts = object->end = NULL;
    int failed = rows_layout(rows, spans, texts_span, end_span);
    free(spans);
    if (!failed) {
        object->heads = Py_NewRef(heads);
        object->texts = Py_NewRef(texts);
        object->end = Py_NewRef(end);
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(before[i]);
    if (failed == -2)
        PyErr_SetString(PyExc_ValueError, "the texts are not those of the values");
    if (failed)
        return failed == -1 ? PyErr_NoMemory() : NULL;
    return bytes_of(span_of(rows->line_ends, rows->count * sizeof *rows->line_ends));
}

static PyObject *rows_text(PyObject *self, PyObject *args)
{
    RowsObject *object = (RowsObject *)self;
    const Rows *rows = &object->rows;
    Py_ssize_t first, stop;
    Span texts, end, *spans;
    if (!PyArg_ParseTuple(args, "nn", &first, &stop))
        return NULL;
    if (!object->heads || first < 0 || stop < first || (size_t)stop > rows->count) {
        PyErr_SetString(PyExc_IndexError, "no such lines, or they were not measured");
        return NULL;
    }
    if (span_from(object->texts, &texts) || span_from(object->end, &end) ||
        !(spans = heads_of(object->heads, rows->moment_count)))
        return NULL;
    size_t size = rows_size(rows, (size_t)first, (size_t)stop);
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (text)
        rows_write(rows, spans, texts, end, (size_t)first, (size_t)stop,
                   (uint8_t *)PyBytes_AsString(text));
    free(spans);
    return text;
}

static PyObject *rows_sample(PyObject *self, PyObject *args)
{
    const Rows *rows = &((RowsObject *)self)->rows;
    Py_ssize_t first, count;
    if (!PyArg_ParseTuple(args, "nn", &first, &count))
        return NULL;
    PyObject *list = PyList_New(0);
    for (size_t i = first < 0 ? rows->count : (size_t)first;
         list && count > 0 && i < rows->count; i++, count--) {
        const Row *row = &rows->rows[i];
        PyObject *made = Py_BuildValue("(NLd)", bytes_of(template_of(row->series)),
                                       (long long)rows->moments[row->moment].time_ms, row->value);
        if (!made || PyList_Append(list, made))
            Py_CLEAR(list);
        Py_XDECREF(made);
    }
    return list;
}

static PyMethodDef rows_methods[] = {
    {"folded", rows_folded, METH_NOARGS,
     "Return the records for the fold, the number of samples that are only folded, and the newest "
     "time of a folded one in ms (0: none)."},
    {"not_finite", rows_not_finite, METH_NOARGS, "Return the values that are not finite."},
    {"accounts", rows_accounts, METH_NOARGS,
     "Return for each source its numbers of kept and dropped samples, and the latest kept time."},
    {"times", rows_times, METH_NOARGS, "Return the time in ms of each moment of rendered rows."},
    {"lanes", rows_lanes, METH_NOARGS, "Return the lane of each moment."},
    {"spans", rows_spans, METH_NOARGS, "Return lanes, each with its first row and the row after its last."},
    {"unrouted", rows_unrouted, METH_NOARGS, "Count the samples of series without a lane."},
    {"values", rows_values, METH_NOARGS, "Return the rendered rows' values, in their order."},
    {"layout", rows_measure, METH_VARARGS,
     "Measure the lines by a head for each moment, the values' texts and the end of a line; return "
     "the offset of each line's end (u64)."},
    {"text", rows_text, METH_VARARGS, "Return the measured lines from one up to another."},
    {"sample", rows_sample, METH_VARARGS,
     "Return some rows, from one on, as template, time and value."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_doc, "The rendered and folded samples of a request: made by `Reading.rows`."},
    {Py_tp_dealloc, rows_dealloc},
    {Py_tp_methods, rows_methods},
    {Py_sq_length, rows_length},
    {0, NULL},
};

static PyType_Spec rows_spec = {
    .name = "receiver.kernel.Rows",
    .basicsize = sizeof(RowsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = rows_slots,
};

/* ---- the fold ---- */

enum { COLUMNS = 21 };

/* Fold records; returns those handed back, the number of repeated ones, and of resets. */
static PyObject *kernel_fold(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *records, *columns, *result = NULL;
    long long future_ms, now_ms;
    if (!PyArg_ParseTuple(args, "SLLO!", &records, &future_ms, &now_ms, &PyTuple_Type, &columns))
        return NULL;
    Span span;
    if (span_from(records, &span))
        return NULL;
    if (PyTuple_Size(columns) != COLUMNS) {
        PyErr_SetString(PyExc_TypeError, "the columns are a tuple of 21 arrays");
        return NULL;
    }
    /* The size of an element, and the column of the same length, as in receiver/fold/state.py. */
    static const uint8_t sizes[COLUMNS] = {8, 8, 4, 4, 8, 8, 4, 1, 4, 1, 8, 8, 8, 8, 8, 8, 8, 4, 8, 8, 8};
    static const uint8_t like[COLUMNS] = {0, 0, 0, 0, 0, 5, 6, 6, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9, 18, 18, 18};
    Py_buffer views[COLUMNS];
    int held = 0;
    for (; held < COLUMNS; held++) {
        if (PyObject_GetBuffer(PyTuple_GetItem(columns, held), &views[held], PyBUF_WRITABLE))
            goto release;
        if (views[held].len / sizes[held] != views[like[held]].len / sizes[like[held]]) {
            held++;
            PyErr_SetString(PyExc_ValueError, "columns of different lengths");
            goto release;
        }
    }
    {
        Columns c = {
            views[0].buf, views[1].buf, views[2].buf, views[3].buf, views[4].buf,
            (size_t)views[0].len / 8,
            views[5].buf, (size_t)views[5].len / 8,
            views[6].buf, views[7].buf, views[8].buf, (size_t)views[6].len / 4,
            views[9].buf, views[10].buf, views[11].buf, views[12].buf, views[13].buf, views[14].buf,
            views[15].buf, views[16].buf, views[17].buf, (size_t)views[9].len,
            views[18].buf, views[19].buf, views[20].buf, (size_t)views[18].len / 8,
        };
        Folded folded = {0, 0, NULL, 0, NULL};
        folded.rest = malloc(left(span) ? left(span) : 1);
        folded.deferred = calloc(c.series / 8 + 1, 1);
        if (folded.rest && folded.deferred) {
            fold_records(span.at, left(span), future_ms, now_ms, &c, &folded);
            result = Py_BuildValue("y#nn", folded.rest, (Py_ssize_t)folded.rest_size,
                                   (Py_ssize_t)folded.repeated, (Py_ssize_t)folded.resets);
        } else {
            PyErr_NoMemory();
        }
        free(folded.rest);
        free(folded.deferred);
    }
release:
    while (held-- > 0)
        PyBuffer_Release(&views[held]);
    return result;
}

/* ---- the module ---- */

/* Write a series' label pairs as a key of 2.0, so that the full parser finds recognised series. */
static PyObject *kernel_key(PyObject *Py_UNUSED(module), PyObject *pairs)
{
    if (!PyTuple_Check(pairs)) {
        PyErr_SetString(PyExc_TypeError, "pairs are a tuple of bytes");
        return NULL;
    }
    PyObject *key = NULL;
    size_t size = 0;
    for (int writing = 0; writing < 2; writing++) {
        uint8_t *to = key ? (uint8_t *)PyBytes_AsString(key) : NULL;
        for (Py_ssize_t i = 0; i < PyTuple_Size(pairs); i++) {
            Span text;
            if (span_from(PyTuple_GetItem(pairs, i), &text)) {
                Py_XDECREF(key);
                return NULL;
            }
            if (left(text) > UINT32_MAX) {
                PyErr_SetString(PyExc_OverflowError, "a label of 4 GiB");
                return NULL;
            }
            size_t text_size = put_text(text, to);
            to = to ? to + text_size : to;
            size += key ? 0 : text_size;
        }
        if (!key && !(key = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)))
            return NULL;
    }
    return key;
}

static PyMethodDef kernel_functions[] = {
    {"read", kernel_read, METH_VARARGS,
     "Open a request (bytes, version, unselected names, known series, limit of series); None for an "
     "unusual one."},
    {"key", kernel_key, METH_O, "Return label pairs as a key of the known series."},
    {"fold", kernel_fold, METH_VARARGS,
     "Fold records (bytes, latest time, our time, columns): those handed back, repeats, resets."},
    {NULL, NULL, 0, NULL},
};

static int kernel_exec(PyObject *module)
{
    State *state = state_of(module);
    PyObject *os = PyImport_ImportModule("os");
    PyObject *seed = os ? PyObject_CallMethod(os, "urandom", "n", (Py_ssize_t)sizeof state->seed)
                        : NULL;
    Span span;
    Py_XDECREF(os);
    if (!seed || span_from(seed, &span) || left(span) != sizeof state->seed) {
        Py_XDECREF(seed);
        return -1;
    }
    memcpy(state->seed, span.at, sizeof state->seed);
    Py_DECREF(seed);
    struct { PyType_Spec *spec; PyTypeObject **type; } types[] = {
        {&table_spec, &state->table_type},
        {&reading_spec, &state->reading_type},
        {&rows_spec, &state->rows_type},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *types[i].type = (PyTypeObject *)PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (!*types[i].type || PyModule_AddType(module, *types[i].type))
            return -1;
    }
    return 0;
}

static int kernel_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = state_of(module);
    Py_VISIT(state->table_type);
    Py_VISIT(state->reading_type);
    Py_VISIT(state->rows_type);
    return 0;
}

static int kernel_clear(PyObject *module)
{
    State *state = state_of(module);
    Py_CLEAR(state->table_type);
    Py_CLEAR(state->reading_type);
    Py_CLEAR(state->rows_type);
    return 0;
}

static PyModuleDef_Slot kernel_slots[] = {
    {Py_mod_exec, kernel_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef kernel_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "receiver.kernel",
    .m_doc = "Requests become rows, and rows become lines, compiled.",
    .m_size = sizeof(State),
    .m_methods = kernel_functions,
    .m_slots = kernel_slots,
    .m_traverse = kernel_traverse,
    .m_clear = kernel_clear,
};

PyMODINIT_FUNC PyInit_kernel(void) { return PyModuleDef_Init(&kernel_module); }
