;; expect: limit-fuel limit-host-work timeout malformed
;; One cheap instruction that writes a whole table, for ever.
(module
  (memory (export "memory") 1)
  (table $t 10000 funcref)
  (func (export "_start")
    (loop $again
      (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000))
      (br $again))))
