;; expect: malformed limit-memory
;; Declares a table of two thousand million entries.
(module
  (memory (export "memory") 1)
  (table 2147483648 funcref)
  (func (export "_start")))
