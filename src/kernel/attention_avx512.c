#include "kernel/attention_body.h"
