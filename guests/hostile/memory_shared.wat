;; expect: malformed
;; Wants memory that threads share.
(module
  (memory (export "memory") 1 10 shared)
  (func (export "_start")
    nop))
