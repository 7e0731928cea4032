/* stdio, which may wait as well. Faults do not reach into it. */
#include "calls.h"

#include <stdarg.h>
#include <stdio.h>

size_t called_fread(void *to, size_t size, size_t n, FILE *f);
size_t called_fread(void *to, size_t size, size_t n, FILE *f)
{
	size_t r;

	WAITING("fread", fileno(f), HERE, r, fread(to, size, n, f));
	return r;
}

size_t called_fwrite(const void *from, size_t size, size_t n, FILE *f);
size_t called_fwrite(const void *from, size_t size, size_t n, FILE *f)
{
	size_t r;

	WAITING("fwrite", fileno(f), HERE, r, fwrite(from, size, n, f));
	return r;
}

char *called_fgets(char *to, int n, FILE *f);
char *called_fgets(char *to, int n, FILE *f)
{
	char *r;

	WAITING("fgets", fileno(f), HERE, r, fgets(to, n, f));
	return r;
}

ssize_t called_getline(char **line, size_t *size, FILE *f);
ssize_t called_getline(char **line, size_t *size, FILE *f)
{
	ssize_t r;

	WAITING("getline", fileno(f), HERE, r, getline(line, size, f));
	return r;
}

int called_fgetc(FILE *f);
int called_fgetc(FILE *f)
{
	int r;

	WAITING("fgetc", fileno(f), HERE, r, fgetc(f));
	return r;
}

int called_getc(FILE *f);
int called_getc(FILE *f)
{
	int r;

	WAITING("getc", fileno(f), HERE, r, getc(f));
	return r;
}

int called_fputs(const char *s, FILE *f);
int called_fputs(const char *s, FILE *f)
{
	int r;

	WAITING("fputs", fileno(f), HERE, r, fputs(s, f));
	return r;
}

int called_fputc(int c, FILE *f);
int called_fputc(int c, FILE *f)
{
	int r;

	WAITING("fputc", fileno(f), HERE, r, fputc(c, f));
	return r;
}

int called_fflush(FILE *f);
int called_fflush(FILE *f)
{
	int r;

	WAITING("fflush", f ? fileno(f) : -1, HERE, r, fflush(f));
	return r;
}

int called_fclose(FILE *f);
int called_fclose(FILE *f)
{
	int r;

	WAITING("fclose", fileno(f), HERE, r, fclose(f));
	return r;
}

int called_fprintf(FILE *f, const char *format, ...);
int called_fprintf(FILE *f, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	WAITING("fprintf", fileno(f), HERE, r, vfprintf(f, format, args));
	va_end(args);
	return r;
}

/* fscanf has another name for each edition of C. */
int called___isoc99_fscanf(FILE *f, const char *format, ...);
int called___isoc99_fscanf(FILE *f, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	WAITING("fscanf", fileno(f), HERE, r, vfscanf(f, format, args));
	va_end(args);
	return r;
}

int called___isoc23_fscanf(FILE *f, const char *format, ...);
int called___isoc23_fscanf(FILE *f, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	WAITING("fscanf", fileno(f), HERE, r, vfscanf(f, format, args));
	va_end(args);
	return r;
}
