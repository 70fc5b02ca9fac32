// Links all of a library, with nothing but what it may use: what the layering forbids fails here as
// an undefined reference.
int main() {}
