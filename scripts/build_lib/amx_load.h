/* _tile_loadconfig as it should be: included before every file that a build compiles for AMX.
 *
 * GCC's own version (12, and others) tells the optimiser that only 8 of the 64 bytes are read. The stores to the rest
 * are dropped, and what ldtilecfg then finds there ends in a general protection fault or an invalid opcode.
 */
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char(*)[64])(config)))
#endif
