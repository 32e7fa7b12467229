;; expect: limit-fuel limit-host-work timeout
;; One cheap instruction that moves 8 MiB, for ever.
(module
  (memory (export "memory") 256)
  (func (export "_start")
    (loop $again
      (memory.copy (i32.const 0) (i32.const 8388608) (i32.const 8388608))
      (br $again))))
