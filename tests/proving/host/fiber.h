// A fiber: a stack of its own, that is gone to and come back from.
#pragma once
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED true  // by a sanitizer
#else
#define WATCHED false
#endif

#if defined(__x86_64__) && !WATCHED
// By hand: ucontext asks the operating system for the signal mask at every change.
struct Fiber { void *top; };

// All that a function must leave as it was, and the way back, lie on the stack that is left.
__attribute__((naked, noipa)) static void change(Fiber &, Fiber &) {
    asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi); mov (%rsi), %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "ret");
}

static void begin(Fiber &fiber, char *stack, size_t bytes, void (*enter)()) {
    void **end = (void **)(((size_t)stack + bytes) & ~(size_t)15);
    end[-1] = nullptr;  // nobody to return to
    end[-2] = (void *)enter;
    fiber.top = end - 8;  // six registers, of any values
}

#else
#include <ucontext.h>
struct Fiber { ucontext_t context; };

__attribute__((no_sanitize("address", "thread", "undefined")))
static void change(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }

__attribute__((no_sanitize("address", "thread", "undefined")))
static void begin(Fiber &fiber, char *stack, size_t bytes, void (*enter)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = bytes;
    makecontext(&fiber.context, enter, 0);
}
#endif
