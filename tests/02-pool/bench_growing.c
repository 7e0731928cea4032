/*
 * bench_growing - the better algorithm: n! from (n-1)!, by one multiplication
 *
 * usage: bench_growing N
 *
 * Answers the same question as factorials, with no second process: the
 * numbers of digits and the residues of the factorials below N.
 */
#include <gmp.h>
#include <math.h>

#include "../bench/measure.h"
#include "fl.h"

enum { MODULUS = 1000000007 };

/*
 * Good enough here: 1! is the last factorial that is a power of ten, and the
 * checksum is compared with that of the careful way.
 */
static long count_digits(const mpz_t number)
{
	long exponent;
	double mantissa = mpz_get_d_2exp(&exponent, number);

	return (long)(log10(mantissa) + exponent * log10(2) + 1e-9) + 1;
}

int main(int argc, char **argv)
{
	long n = measure_argument(argc == 2 ? argv[1] : NULL, 1000000);
	long digits = 0, sum = 0;
	double start = fl_now();
	mpz_t number;

	mpz_init_set_ui(number, 1);
	for (long i = 0; i < n; i++) {
		if (i > 0)
			mpz_mul_ui(number, number, i);
		digits += count_digits(number);
		sum += (long)mpz_fdiv_ui(number, MODULUS);
	}
	mpz_clear(number);
	fl_line("tasks=%ld digits=%ld sum=%ld seconds=%.6f", n, digits, sum,
		fl_now() - start);
	return FL_OK;
}
