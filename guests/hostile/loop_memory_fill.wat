;; expect: limit-fuel limit-host-work timeout
;; One cheap instruction that writes 16 MiB, for ever.
(module
  (memory (export "memory") 256)
  (func (export "_start")
    (loop $again
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 16777216))
      (br $again))))
