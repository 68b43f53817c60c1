# Injected by CMake right after llama.cpp's own project() call (CMAKE_PROJECT_<name>_INCLUDE): the Python bindings load
# libllama and ggml alone, and the "common" library that the package's CMakeLists.txt forces on is most of the compile time.
set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
