#include "kernel/rows_body.h"
