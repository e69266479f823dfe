/* Does AMX work here, or does the CPU only announce it?
 *
 * Asks the kernel for tile registers and multiplies one pair of 8-bit tiles, set up as ggml sets them up.
 * Exit status: 0 it works, 1 the kernel refuses (ggml then stays away from AMX), 2 the product is wrong;
 * death by a signal: it traps.
 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ROWS = 16, ROW_BYTES = 64, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

struct tile_config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void configure_tiles(void) {
    _Alignas(64) struct tile_config config = {.palette = 1};
    for (int tile = 0; tile < 3; tile++) {
        config.row_bytes[tile] = ROW_BYTES;
        config.rows[tile] = ROWS;
    }
    _tile_loadconfig(&config);
}

static int32_t multiply_ones(void) {
    static int8_t ones[ROWS * ROW_BYTES];
    static int32_t product[ROWS * ROWS];
    memset(ones, 1, sizeof ones);
    _tile_zero(0);
    _tile_loadd(1, ones, ROW_BYTES);
    _tile_loadd(2, ones, ROW_BYTES);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, product, ROW_BYTES);
    _tile_release();
    return ((volatile int32_t *)product)[0];
}

int main(void) {
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0) {
        return 1;
    }
    configure_tiles();
    return multiply_ones() == ROW_BYTES ? 0 : 2;
}
