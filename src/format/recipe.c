#include "format/recipe.h"

#include "base/heap.h"

void sg_recipe_free(sg_recipe *r) { sg_free(r); }

sg_status sg_recipe_run(const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    (void)row, (void)nrow, (void)dst;
    return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s' cannot be made yet", t->name);
}

void sg_recipe_drop(const sg_recipe *r)
{
    for (size_t i = 0; i < r->npart; i++)
        sg_file_drop(r->parts[i].file, r->parts[i].base, r->parts[i].bytes);
}
