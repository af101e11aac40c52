/* Numbers that travel as bfloat16, and what that rounds off, which is carried to the next time. */
#ifndef CELLWRIGHT_WIRE_BFLOAT16_H
#define CELLWRIGHT_WIRE_BFLOAT16_H

#include <stdint.h>

/* Rounds number + carried to the nearest bfloat16, ties to even; what is left is carried on. Of what is not finite nothing is. */
void round_off(uint16_t *halves, const float *numbers, float *carried, int64_t count);
void widen(float *numbers, const uint16_t *halves, int64_t count);
/* Adds up in the order of the hosts: this host's own numbers, into which the sums go, and the others' from received[host][stride]. */
void add_widened(float *own_numbers, const uint16_t *received, int64_t stride, int hosts, int own, int64_t count);

#endif
