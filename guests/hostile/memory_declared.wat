;; expect: malformed limit-memory
;; Declares four gigabytes at once.
(module
  (memory (export "memory") 65536)
  (func (export "_start")
    nop))
