/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Aligned columns on stdout. */

#include "ctl/ctl.h"

#define TABLE_COLUMNS_MAX 8U

typedef enum TableColour { TABLE_PLAIN, TABLE_GREEN, TABLE_RED, TABLE_YELLOW } TableColour;

typedef struct Table {
        size_t n_columns;
        size_t cut; /* the column that is shortened where the terminal is too narrow; n_columns: none */
        size_t cut_max; /* it is never wider than this; 0: no limit */
        bool right[TABLE_COLUMNS_MAX];
        Strv cells;           /* row after row, the headings first */
        TableColour *colours; /* of a row's status column */
        size_t coloured;      /* which column colours are for */
        size_t n_rows;
} Table;

#define _cleanup_table_ _cleanup_(table_clear)

bool table_row(Table *table, TableColour colour, char *const *cells);
void table_print(Table *table);
void table_clear(Table *table);
