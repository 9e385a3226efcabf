// Launches a kernel that was built for a sanitizer, which this program is built for, too.
//
// It reads a file of numbers of 64 bits and of bytes, as sanitized.py writes it, and writes to
// another what the launch has left in memory. A launch that fails says why on stderr.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

static FILE *file;

static uint64_t number() {
    uint64_t found;
    return fread(&found, sizeof found, 1, file) == 1 ? found : 0;
}

// Memory of exactly that size, as far off the allocator's boundary as it was.
static char *bytes(uint64_t off, uint64_t size) {
    char *memory = (char *)malloc(off + size) + off;
    if (size && fread(memory, size, 1, file) != 1) abort();
    return memory;
}

int main(int count, char **names) {
    if (count < 3) return 0;
    file = fopen(names[1], "rb");
    if (!file) return 1;
    const char *library = bytes(0, number());
    unsigned shape[6];
    for (unsigned &each : shape) each = (unsigned)number();
    const uint64_t shared = number(), limit = number(), order = number();
    std::vector<char *> pieces(number());
    std::vector<uint64_t> sizes;
    for (char *&piece : pieces) {
        const uint64_t off = number();
        sizes.push_back(number());
        piece = bytes(off, sizes.back());
    }
    std::vector<void *> values(number());
    for (void *&value : values) {
        value = malloc(16);
        const uint64_t piece = number(), first = number(), second = number();
        const bool literal = piece == pieces.size();
        ((uint64_t *)value)[0] = literal ? first : (uint64_t)pieces[piece] + first;
        ((uint64_t *)value)[1] = second;
    }
    for (uint64_t left = number(); left > 0; --left) {  // words that are addresses
        const uint64_t table = number(), place = number(), piece = number(), first = number();
        *(uint64_t *)(pieces[table] + place) = (uint64_t)pieces[piece] + first;
    }
    fclose(file);

    typedef const char *Launch(void *const *, const unsigned *, size_t, size_t, long long);
    void *loaded = dlopen(library, RTLD_NOW);
    Launch *launch = loaded ? (Launch *)dlsym(loaded, "onepass_launch") : nullptr;
    if (!launch) {
        fprintf(stderr, "%s", dlerror());
        return 1;
    }
    fprintf(stderr, "%s", launch(values.data(), shape, shared, limit, (long long)order));
    file = fopen(names[2], "wb");
    if (!file) return 1;
    for (size_t k = 0; k < pieces.size(); ++k) fwrite(pieces[k], 1, sizes[k], file);
    return fclose(file);
}
