#include "textflag.h"

// func crc3(crc uint32, p *byte, k, rest, c2, c1 uint64) uint32
//
// Three streams of k words each hide the latency of CRC32Q; one carry-less
// multiplication each moves the first two past what follows them, and the
// word after the streams takes in both products. Then rest words one by one.
TEXT ·crc3(SB), NOSPLIT, $0-52
	MOVL crc+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ k+16(FP), CX
	MOVQ rest+24(FP), R11
	LEAQ (SI)(CX*8), BX
	LEAQ (BX)(CX*8), DX
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10

streams:
	CRC32Q (SI)(R10*8), AX
	CRC32Q (BX)(R10*8), R8
	CRC32Q (DX)(R10*8), R9
	INCQ   R10
	CMPQ   R10, CX
	JB     streams

	LEAQ      (DX)(CX*8), SI
	MOVQ      AX, X0
	MOVQ      c2+32(FP), X1
	PCLMULQDQ $0, X1, X0
	MOVQ      R8, X2
	MOVQ      c1+40(FP), X3
	PCLMULQDQ $0, X3, X2
	PXOR      X2, X0
	MOVQ      X0, R10
	XORQ      (SI), R10
	CRC32Q    R10, R9

	TESTQ R11, R11
	JZ    done

tail:
	ADDQ   $8, SI
	CRC32Q (SI), R9
	DECQ   R11
	JNZ    tail

done:
	MOVL R9, ret+48(FP)
	RET
