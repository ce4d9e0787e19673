package main

// With a function of C in it, the program is linked by the system's linker and begins in C's start-up code.

// static int one(void) { return 1; }
import "C"

func init() {
	if C.one() != 1 {
		panic("C does not work")
	}
}
