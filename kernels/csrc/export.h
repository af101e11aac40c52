/* What callers outside of this library find. */
#ifndef CELLWRIGHT_EXPORT_H
#define CELLWRIGHT_EXPORT_H

#define EXPORT __attribute__((visibility("default")))

#endif
