/* model/phi3.c - Phi-3 (Abdin et al. 2024, arXiv:2404.14219).
 *
 * Llama's pass with q, k, v in one matrix, gate and up in another (the blocks see that from the tensors), rotation by
 * halves of perhaps only a part of each head, and longrope's two sets of divisors.
 */
#include "model/families.h"

sg_status sg_phi3_params(sg_hparams *h, const sg_keys *k) { return sg_hparams_decoder(h, k); }
