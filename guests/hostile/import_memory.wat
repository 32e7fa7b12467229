;; expect: malformed
;; Wants its host to bring a memory.
(module
  (import "env" "memory" (memory 1))
  (func (export "_start")))
