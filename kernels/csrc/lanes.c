/* Which of the builds of the operations a program runs: for so many lanes, on tensors stored as float32 or bfloat16. */
#include "export.h"
#include "program.h"

extern const operation_t operations16[OP_KINDS], operations8[OP_KINDS], bfloat16_operations16[OP_KINDS],
    bfloat16_operations8[OP_KINDS], avx512bf16_operations16[OP_KINDS];

static int rounds_by_instruction(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return 0;
#endif
}

const operation_t *operations_for(int64_t lanes, int64_t bfloat16) {
  if (!bfloat16) return lanes == 16 ? operations16 : operations8;
  if (lanes != 16) return bfloat16_operations8;
  return rounds_by_instruction() ? avx512bf16_operations16 : bfloat16_operations16;
}

/* For tests: runs one operation on the images of tensors; storage: 0 float32, 1 bfloat16 rounded by integer arithmetic, 2 by the
 * processor's instruction. Returns the operation's code, or -1 where this machine lacks the instructions. */
EXPORT int cellwright_operation(const op_t *op, void **tensors, int64_t images, int64_t lanes, int64_t storage) {
  context_t context = {.params = tensors, .threads = 1, .images = images, .n = images, .capacity = images};
  if (storage == 2 && (lanes != 16 || !rounds_by_instruction())) return -1;
  const operation_t *by_integers = lanes == 16 ? bfloat16_operations16 : bfloat16_operations8;
  return (storage == 1 ? by_integers : operations_for(lanes, storage))[op->kind](op, &context);
}
