;; expect: limit-fuel
;; Never ends, by way of a branch table.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (block $a (block $b (br_table $a $b $again (i32.const 2)))))))
