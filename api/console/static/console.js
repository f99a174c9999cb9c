var C,xn,At,se,Ot,ot,Sn,tt,kn,Nt,Pt,si,Pe=Symbol.for("pv"),rt={},it=[],ai=/^m(i|n|o|s|text|space)$/,Lt=Array.isArray,st=it.slice,ae=Object.assign;function me(e){e&&e.parentNode&&e.remove()}function at(e,t,n){var o,r,i,s={},l=arguments.length;for(i in t)i=="key"?o=t[i]:i=="ref"&&typeof e!="function"?r=t[i]:s[i]=t[i];return l>2&&(s.children=l>3?st.call(arguments,2):n),we(e,s,o,r,null)}function En(e,t,n){var o,r,i,s=ae({},e.props),l=arguments.length;for(i in t)i=="key"?o=t[i]:i=="ref"&&typeof e.type!="function"?r=t[i]:s[i]=t[i];return l>2&&(s.children=l>3?st.call(arguments,2):n),we(e.type,s,o!==void 0?o:e.key,r!==void 0?r:e.ref,null)}function we(e,t,n,o,r){var i={type:e,props:t,key:n,ref:o,__k:null,__:null,__b:0,__e:null,__c:null,constructor:Pe,__v:r||++xn,__i:-1,__u:0};return!r&&C.vnode&&C.vnode(i),i}function he(e){return e.children}function xe(e,t){this.props=e,this.context=t,this.__g=0}function le(e,t){if(t==null)return e.__&&le(e.__,e.__i+1);for(var n;t<e.__k.length;t++)if((n=e.__k[t])&&n.__e)return n.__e;return typeof e.type!="function"||e.props.__P?null:le(e)}function li(e){var t,n=e.__v,o=n.__e,r=[],i=[],s=e.__P;s&&((t=ae({constructor:Pe},n)).__v=n.__v+1,C.vnode&&C.vnode(t),It(s,t,n,e.__n,s.namespaceURI,32&n.__u?[o]:null,r,o||le(n),32&n.__u,i),t.__v=n.__v,t.__.__k[t.__i]=t,An(r,t,i),n.__=n.__e=null,t.__e!=o&&Cn(t))}function Cn(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){return t&&(e.__e=t.__e)}),Cn(e)}function yn(e){(8&e.__g||(e.__g|=8,se.push(e),ot++))&&Ot==C.debounceRendering||((Ot=C.debounceRendering)||queueMicrotask)(Tn)}function Tn(){try{for(var e,t=1;se.length;)se.length>t&&se.sort(Sn),e=se.shift(),t=se.length,8&e.__g&&li(e)}finally{(ot=se.length)&&(Ot||queueMicrotask)(Tn)}}function Rn(e,t,n,o,r,i,s,l,u,p,c){var m,d,f,$,w,h,S=o.__k||it,_=t.length;for(u=ui(n,t,S,u,_),m=0;m<_;m++)(f=n.__k[m])!=null&&(d=~f.__i&&S[f.__i]||rt,f.__i=m,h=It(e,f,d,r,i,s,l,u,p,c),$=f.__e,(d.ref!=f.ref||8&d.__u)&&(d.ref&&Mt(d.ref,null,f,d),f.ref&&c.push(f.ref,f.__c||$,f)),w=w||$,4&f.__u?(u=On(f,u,e,!d.__v),d.__e&&(d.__e=null)):typeof f.type=="function"&&h!==void 0?u=h:$&&(u=$.nextSibling),f.__u&=-21);return n.__e=w,u}function ui(e,t,n,o,r){var i,s,l,u,p,c,m,d,f,$=n.length,w=$,h=0,S=0,_=e.__k=Array(r);for(i=0;i<r;i++)(s=t[i])!=null&&typeof s!="boolean"&&typeof s!="function"?(typeof s!="object"||s.constructor===String?s=_[i]=we(null,s):Lt(s)?s=_[i]=we(he,{children:s}):s.constructor===Pe&&s.__b?s=_[i]=we(s.type,s.props,s.key,s.ref,s.__v):_[i]=s,u=i+h,s.__=e,s.__b=e.__b+1,l=null,~(p=s.__i=ci(s,n,u,w))&&(w--,(l=n[p])&&(l.__u|=2)),l&&l.__v?(s.__u|=16,p==u-1?h--:p==u+1?h++:p!=u&&(p>u?h--:h++,S=1)):(~p||(r>$?h--:r<$&&h++),typeof s.type!="function"&&(s.__u|=4))):_[i]=null;if(S){for(c=[],m=[],i=0;i<r;i++)if((s=_[i])&&16&s.__u){for(h=0,d=c.length;h<d;)c[f=h+d>>1]<s.__i?h=f+1:d=f;c[h]=s.__i,m[i]=h+1}for(h=c.length;i--;)m[i]&&(m[i]==h?h--:_[i].__u|=4)}if(w)for(i=0;i<$;i++)!(l=n[i])||2&l.__u||(l.__e==o&&(o=le(l)),qt(l,l));return o}function On(e,t,n,o){var r,i,s,l;if(typeof e.type=="function"){if(e.props.__P)return t;if(r=e.__k)for(i=0;i<r.length;i++)r[i]&&(r[i].__=e,t=On(r[i],t,n,!1));return t}for(t&&!t.parentNode&&(t=le(e))&&!t.parentNode&&(t=null),s=e.__e,l=t;l&&l.nodeType==8;)l=l.nextSibling;for(s!=l&&(!o&&n.moveBefore&&s.parentNode?n.moveBefore(s,t):n.insertBefore(s,t||null)),t=s;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function ci(e,t,n,o){var r,i=e.key,s=e.type,l=t[n],u=l&&!(2&l.__u);if(l===null&&i==null||u&&i==l.key&&s==l.type)return n;if(o>(u?1:0)){for(r=n-1;r>=0;r--)if((l=t[r])&&!(2&l.__u)&&i==l.key&&s==l.type)return r;for(r=n+1;r<t.length;r++)if((l=t[r])&&!(2&l.__u)&&i==l.key&&s==l.type)return r}return-1}function wn(e,t,n){n==null&&(n=""),t[0]=="-"?e.setProperty(t,n):e[t]=n}function et(e,t,n,o,r){var i,s;if(t=="style")if(typeof n=="string")e.style.cssText=n;else{if(typeof o=="string"&&(e.style.cssText=o=""),o)for(t in o)n&&t in n||wn(e.style,t);if(n)for(t in n)o&&n[t]==o[t]||wn(e.style,t,n[t])}else if(t[0]=="o"&&t[1]=="n")typeof n!="function"&&(n=null),typeof o!="function"&&(o=null),(e.__e||(e.__e={}))[t]=n,n&&o||(s=Pt[t]||(Pt[t]=fi(t)),(e.__a||(e.__a={}))[t]=Nt,i=t!=(t=t.replace(kn,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),n?e.addEventListener(t,s,i):e.removeEventListener(t,s,i));else{if(r=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="colSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=n??"")}catch{}if(typeof n=="function")return;n==null||n===!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&n==1?"":n)}}function fi(e){return function(t){var n=this.__e;if(n){if(n=n[e],t[tt]==null)t[tt]=Nt++;else if(t[tt]<this.__a[e])return;return n(C.event?C.event(t):t)}}}function It(e,t,n,o,r,i,s,l,u,p){var c,m,d,f,$,w,h,S,_,b,y,O,T,J,Q,bn,ie,de,ee=t.type;if(t.constructor!==Pe)return null;128&n.__u&&(u=32&n.__u,c=n.__c.__z)&&(t.__u|=u,m=i=[],c.nodeType==8?l=nt(c,i):i.push(c),l=i[0]||l),(c=C.__b)&&c(t);e:if(typeof ee=="function"){d=s.length;try{if(S=t.props,_=(c=ee.prototype)&&c.render,b=(c=ee.contextType)&&o[c.__c],y=c?b?b.props.value:c.__:o,(f=n.__c)?(t.__c=f,2&f.__g&&(f.__g|=1)):(_?t.__c=f=new ee(S,y):(t.__c=f=new xe(S,y),f.constructor=ee,f.render=di),b&&b.sub(f),f.state||(f.state={}),f.__n=o,f.__g|=8,f.__h=[],f.__k=[]),_&&(f.__s||(f.__s=f.state),ee.getDerivedStateFromProps&&(f.__s==f.state&&(f.__s=ae({},f.__s)),ae(f.__s,ee.getDerivedStateFromProps(S,f.__s)))),$=f.props,w=f.state,f.__v=t,n.__c){if(S!==$&&_&&!ee.getDerivedStateFromProps&&f.componentWillReceiveProps&&f.componentWillReceiveProps(S,y),t.__v==n.__v&&!(8&f.__g)||!(4&f.__g)&&f.shouldComponentUpdate&&f.shouldComponentUpdate(S,f.__s,y)===!1){t.__v!=n.__v&&(f.props=S,f.state=f.__s,f.__g&=-9),t.__e=n.__e,t.__k=n.__k,t.__k.some(function(V){V&&(V.__=t)}),it.push.apply(f.__h,f.__k),f.__k=[],f.__h.length&&s.push(f),l=le(n);break e}f.componentWillUpdate&&f.componentWillUpdate(S,f.__s,y),_&&f.componentDidUpdate&&f.__h.push(function(){f.componentDidUpdate($,w,h)})}else _&&!ee.getDerivedStateFromProps&&f.componentWillMount&&f.componentWillMount(),_&&f.componentDidMount&&f.__h.push(f.componentDidMount);f.context=y,f.props=S,f.__P=e,f.__g&=-5,O=C.__r,T=_?25:0;do f.__g&=-9,O&&O(t),c=f.render(f.props,f.state=f.__s,f.context);while(8&f.__g&&++T<25);_&&(it.push.apply(f.__h,f.__k),f.__k=[]),f.state=f.__s,f.getChildContext&&(o=ae({},o,f.getChildContext())),_&&n.__c&&f.getSnapshotBeforeUpdate&&(h=f.getSnapshotBeforeUpdate($,w)),J=c&&c.type===he&&c.key==null?c.props.children:c,S.__P&&(c=l,r=(e=S.__P).namespaceURI,u=i=null,n.props&&n.props.__P!=e&&(n.__k.some(function(V){V&&qt(V,V)}),n.__k=null),l=n.__k?le(n,0):null),l=Rn(e,Lt(J)?J:[J],t,n,o,r,i,s,l,u,p),S.__P&&(t.__e=null,l=c),t.__u&=-161,m&&m.some(me),f.__h.length&&s.push(f),1&f.__g&&(f.__g&=-4)}catch(V){if(s.length=d,t.__v=null,u||i)if(V&&V.then){if(t.__u|=128|u,i){for(~(ie=i.indexOf(l||void 0))||(ie=i.length);(de=i[ie-1])&&de.nodeType==8;)ie--;for(;ie<i.length;ie++)if(de=i[ie])if(i[ie]=null,Q){if(de==bn)break}else{if(de.nodeType!=8)break;de.data.startsWith("$s")&&(bn=nt(Q=de))}}if(!Q){for(;l&&l.nodeType==8&&l.nextSibling;)l=l.nextSibling;Q=l}(c=nt(Q=t.__c.__z||(t.__c.__z=Q)))?(t.__e=Q,l=c):t.__e=l,l=l&&l.nextSibling}else i&&i.some(me);else t.__e=n.__e;t.__k||(t.__k=n.__k||[]),V&&V.then||Pn(t),C.__e(V,t,n)}}else l=t.__e=pi(n.__e,t,n,o,r,i,s,u,p,e);return(c=C.diffed)&&c(t),l}function nt(e,t){if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var n=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))n++;else if(e.data.startsWith("/$s")&&!--n)return e}t&&t.push(e)}}function Pn(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.some(Pn))}function An(e,t,n){for(var o=0;o<n.length;)Mt(n[o++],n[o++],n[o++]);C.__c&&C.__c(t,e),e.some(function(r){try{e=r.__h,r.__h=[],e.some(function(i){i.call(r)})}catch(i){C.__e(i,r.__v)}})}function pi(e,t,n,o,r,i,s,l,u,p){var c,m,d,f,$,w,h,S,_=n.props||rt,b=t.props,y=t.type;if(y=="svg"?r="http://www.w3.org/2000/svg":y=="math"?r="http://www.w3.org/1998/Math/MathML":r||(r="http://www.w3.org/1999/xhtml"),i){for(c=0;c<i.length;c++)if(($=i[c])&&(y?$.localName==y:$.nodeType==3)){e=$,i[c]=null;break}}if(!e){if(S=p.ownerDocument||document,!y)return S.createTextNode(b);e=S.createElementNS(r,y,b.is?b:p),l&&(C.__m&&C.__m(t,i),l=!1),i=null}if(y){if(p=y=="template"&&e.content||e,i=y=="textarea"&&b.defaultValue!=null?null:i&&st.call(p.childNodes),!l&&i)for(_={},c=0;c<e.attributes.length;c++)_[($=e.attributes[c]).name]=$.value;for(c in _)$=_[c],c=="dangerouslySetInnerHTML"?d=$:c=="children"||c in b||c=="value"&&"defaultValue"in b||c=="checked"&&"defaultChecked"in b||et(e,c,null,$,r);for(c in b)$=b[c],c=="children"?f=$:c=="dangerouslySetInnerHTML"?m=$:c=="value"?w=$:c=="checked"?h=$:l&&typeof $!="function"||_[c]===$||et(e,c,$,_[c],r);m?(l||d&&(m.__html==d.__html||m.__html==e.innerHTML)||(e.innerHTML=m.__html),t.__k=[]):(d&&(e.textContent=""),(y=="foreignObject"||r=="http://www.w3.org/1998/Math/MathML"&&ai.test(y))&&(r="http://www.w3.org/1999/xhtml"),Rn(p,Lt(f)?f:[f],t,n,o,r,i,s,i?i[0]:n.__k&&le(n,0),l,u),i&&i.some(me)),l&&y!="textarea"||(c="value",y=="progress"&&w==null?e.removeAttribute(c):w==null||w===e[c]&&(y!="progress"||w)||et(e,c,w,_[c],r),c="checked",h!=null&&h!=e[c]&&et(e,c,h,_[c],r))}else _===b||l&&e.data==b||(e.data=b);return e}function Mt(e,t,n,o){try{typeof e=="function"?t?t.__x=e(t)||1:o&&(o=o.__c||o.__e)&&(t=o.__x)&&(o.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(r){C.__e(r,n)}}function qt(e,t,n){var o,r,i,s;if(C.unmount&&C.unmount(e),!(o=e.ref)||o.current&&o.current!=e.__e||Mt(o,null,t,e),o=e.__c){if(o.componentWillUnmount)try{o.componentWillUnmount()}catch(l){C.__e(l,t)}o.__P=o.__n=null}if(o=e.__k)for(s=0;s<o.length;s++)o[s]&&qt(o[s],t,typeof e.type!="function"||n&&!e.props.__P);!n&&(o=e.__c)&&(o=o.__z)&&(r=nt(o,i=[]))&&(o==e.__e&&i.some(me),me(r),me(o)),n||me(e.__e),e.__e=e.__c=e.__=null}function di(e,t,n){return this.constructor(e,n)}function Nn(e,t){var n,o,r,i;C.__&&C.__(e,t),t.nodeType==9&&(t=t.documentElement),o=(n=e&&32&e.__u)?null:t.__k,t.__k=we(he,{children:[e]}),r=[],i=[],It(t,t.__k,o||rt,rt,t.namespaceURI,o?null:t.firstChild?st.call(t.childNodes):null,r,o?o.__e:t.firstChild,n,i),An(r,t.__k,i),t.__k.props.children=null}C={__e:function(e,t,n,o){for(var r,i,s;t=t.__;)if((r=t.__c)&&!(1&r.__g)){r.__g|=4;try{if((s=(i=r.constructor)&&i.getDerivedStateFromError)&&r.setState(i.getDerivedStateFromError(e)),r.componentDidCatch&&(r.componentDidCatch(e,o||{}),s=1),s&&8&r.__g)return void(r.__g|=2)}catch(l){e=l}}throw ot=0,e}},xn=0,At=function(e){return e!=null&&e.constructor===Pe},xe.prototype.setState=function(e,t){var n=this.__s;n&&n!=this.state||(n=this.__s=ae({},this.state)),typeof e=="function"&&(e=e(ae({},n),this.props)),e&&(ae(n,e),this.__v&&(t&&this.__k.push(t),yn(this)))},xe.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(e),yn(this))},xe.prototype.render=he,se=[],ot=0,Sn=function(e,t){return e.__v.__b-t.__v.__b},tt=Symbol(),kn=/(PointerCapture)$|Capture$/i,Nt=0,Pt={},si=0;var $e,L,Dt,Ln,Ft=Object.is,Ne=0,Wn=[],Ut=[],N=C,In=N.__b,Mn=N.__r,qn=N.diffed,Dn=N.__c,Fn=N.unmount,Un=N.__;function Le(e,t){N.__h&&N.__h(L,e,Ne||t),Ne=0;var n=L.__H||(L.__H={__:[],__h:[]});return e>=n.__.length&&n.__.push({}),n.__[e]}function g(e){return Ne=1,mi(Bn,e)}function mi(e,t,n){var o=Le($e++,2);if(o.t=e,!o.__c&&(o.__=[n?n(t):Bn(void 0,t),function(i){var s=(o.__N||o.__)[0],l=o.t(s,i);Ft(s,l)||(o.__N=[l,o.__[1]],o.__c.setState({}))}],o.__c=L,!L.__f)){L.__f=!0;var r=L.shouldComponentUpdate;L.shouldComponentUpdate=function(i,s,l){var u=this.__H;if(!u)return!0;var p=!1,c=this.props!=i;if(u.__.some(function(d){d.__N&&(p=!0,Ft(d.__[0],d.__N[0])||(c=!0))}),r){var m=r.call(this,i,s,l);return p?m||c:m}return!p||c}}return o.__}function v(e,t){var n=Le($e++,3);!N.__s&&Jt(n.__H,t)&&(n.__P=!0,n.__=e,n.u=t,L.__H.__h.push(n))}function lt(e,t){var n=Le($e++,4);!N.__s&&Jt(n.__H,t)&&(n.__P=!1,n.__=e,n.u=t,L.__h.push(n))}function R(e){return Ne=5,W(function(){return{current:e}},[])}function W(e,t){var n=Le($e++,7);return Jt(n.__H,t)&&(n.__=e(),n.__H=t),n.__}function ut(e,t){return Ne=8,W(function(){return e},t)}function ue(){var e=Le($e++,11);if(!e.__){for(var t=L.__v;!t.__m&&t.__;)t=t.__;var n=t.__m||(t.__m=[0,0]);e.__="P"+n[0]+"-"+n[1]++}return e.__}function hi(){var e;do{for(;e=Ut.shift();)try{Ae(e)}catch(n){N.__e(n,{__:(e=e.__P)&&e.__v})}for(;e=Wn.shift();){var t=e.__H;if(e.__P&&t)try{t.__h.some(Ae),t.__h.some(jt),t.__h=[]}catch(n){t.__h=[],N.__e(n,e.__v)}}}while(Ut.length)}N.__b=function(e){L=null,In&&In(e)},N.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),Un&&Un(e,t)},N.__r=function(e){Mn&&Mn(e),$e=0;var t=(L=e.__c).__H;t&&(Dt==L?L.__h=[]:(t.__h.some(Ae),t.__h.some(jt),$e=0),t.__h=[],t.__.some(function(n){n.__N&&(n.__=n.__N),n.u=n.__N=void 0})),Dt=L},N.diffed=function(e){qn&&qn(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&Jn(Wn.push(t)),t.__H.__.some(function(n){n.u&&(n.__H=n.u)})),Dt=L=null},N.__c=function(e,t){t.some(function(n){try{n.__h.some(Ae),n.__h=n.__h.filter(function(o){return!o.__||jt(o)})}catch(o){n.__h=[function(){throw o}]}}),Dn&&Dn(e,t)},N.unmount=function(e){Fn&&Fn(e);var t,n,o=e.__c;o&&o.__H&&(o.__H.__.some(function(r){try{if(r.__P&&r.__c){if(n===void 0){for(n=e.__;n&&(!n.__c||!n.__c.__P);)n=n.__;n=n&&n.__c}r.__P=n,Jn(Ut.push(r))}else Ae(r)}catch(i){t=i}}),o.__H=void 0,t&&N.__e(t,o.__v))};var jn=typeof requestAnimationFrame=="function";function $i(e){var t,n=function(){clearTimeout(o),jn&&cancelAnimationFrame(t),setTimeout(e)},o=setTimeout(n,35);jn&&(t=requestAnimationFrame(n))}function Jn(e){e!=1&&Ln==N.requestAnimationFrame||((Ln=N.requestAnimationFrame)||$i)(hi)}function Ae(e){var t=L,n=e.__c;typeof n=="function"&&(e.__c=void 0,n()),L=t}function jt(e){var t=L;e.__c=e.__(),L=t}function Jt(e,t){return!e||e.length!=t.length||t.some(function(n,o){return!Ft(n,e[o])})}function Bn(e,t){return typeof t=="function"?t(e):t}var _i=Symbol.for("preact-signals");function dt(){if(te>1)te--;else{var e,t=!1;for((function(){var r=ft;for(ft=void 0;r!==void 0;){var i=r.S;if(i.v===r.v)for(var s=i.t;s!==void 0;s=s.x)s.i===r.i&&(s.i=i.i);r=r.o}})();Me!==void 0;){var n=Me;for(Me=void 0,ct++;n!==void 0;){var o=n.u;if(n.u=void 0,n.f&=-3,!(8&n.f)&&Hn(n))try{n.c()}catch(r){t||(e=r,t=!0)}n=o}}if(ct=0,te--,t)throw e}}function _e(e){if(te>0)return e();Wt=++gi,te++;try{return e()}finally{dt()}}var Ie,A=void 0;function qe(e){var t=A,n=Ie;A=void 0,Ie=void 0;try{return e()}finally{A=t,Ie=n}}var Me=void 0,te=0,ct=0,gi=0,Wt=0,ft=void 0,pt=0;function Gn(e){if(A!==void 0){var t=e.n;if(t===void 0||t.t!==A)return t={i:0,S:e,p:A.s,n:void 0,t:A,e:void 0,x:void 0,r:t},A.s!==void 0&&(A.s.n=t),A.s=t,e.n=t,32&A.f&&e.S(t),t;if(t.i===-1)return t.i=0,t.n!==void 0&&(t.n.p=t.p,t.p!==void 0&&(t.p.n=t.n),t.p=A.s,t.n=void 0,A.s.n=t,A.s=t),t}}function D(e,t){this.v=e,this.i=0,this.n=void 0,this.t=void 0,this.l=0,this.W=t?.watched,this.Z=t?.unwatched,this.name=t?.name}D.prototype.brand=_i;D.prototype.h=function(){return!0};D.prototype.S=function(e){var t=this,n=this.t;n!==e&&e.e===void 0&&(e.x=n,this.t=e,n!==void 0?n.e=e:qe(function(){var o;(o=t.W)==null||o.call(t)}))};D.prototype.U=function(e){var t=this;if(this.t!==void 0){var n=e.e,o=e.x;n!==void 0&&(n.x=o,e.e=void 0),o!==void 0&&(o.e=n,e.x=void 0),e===this.t&&(this.t=o,o===void 0&&qe(function(){var r;(r=t.Z)==null||r.call(t)}))}};D.prototype.subscribe=function(e){var t=this;return ve(function(){var n=t.value;qe(function(){return e(n)})},{name:"sub"})};D.prototype.valueOf=function(){return this.value};D.prototype.toString=function(){return this.value+""};D.prototype.toJSON=function(){return this.value};D.prototype.peek=function(){var e=this;return qe(function(){return e.value})};Object.defineProperty(D.prototype,"value",{get:function(){var e=Gn(this);return e!==void 0&&(e.i=this.i),this.v},set:function(e){if(e!==this.v){if(ct>100)throw new Error("Cycle detected");(function(n){te!==0&&ct===0&&n.l!==Wt&&(n.l=Wt,ft={S:n,v:n.v,i:n.i,o:ft})})(this),this.v=e,this.i++,pt++,te++;try{for(var t=this.t;t!==void 0;t=t.x)t.t.N()}finally{dt()}}}});function x(e,t){return new D(e,t)}function Hn(e){for(var t=e.s;t!==void 0;t=t.n)if(t.S.i!==t.i||!t.S.h()||t.S.i!==t.i)return!0;return!1}function Vn(e){for(var t=e.s;t!==void 0;t=t.n){var n=t.S.n;if(n!==void 0&&(t.r=n),t.S.n=t,t.i=-1,t.n===void 0){e.s=t;break}}}function zn(e){for(var t=e.s,n=void 0;t!==void 0;){var o=t.p;t.i===-1?(t.S.U(t),o!==void 0&&(o.n=t.n),t.n!==void 0&&(t.n.p=o)):n=t,t.S.n=t.r,t.r!==void 0&&(t.r=void 0),t=o}e.s=n}function ge(e,t){D.call(this,void 0,t),this.x=e,this.s=void 0,this.g=pt-1,this.f=4}ge.prototype=new D;ge.prototype.h=function(){if(this.f&=-3,1&this.f)return!1;if((36&this.f)==32||(this.f&=-5,this.g===pt))return!0;if(this.g=pt,this.f|=1,this.i>0&&!Hn(this))return this.f&=-2,!0;var e=A;try{Vn(this),A=this;var t=this.x();(16&this.f||this.v!==t||this.i===0)&&(this.v=t,this.f&=-17,this.i++)}catch(n){this.v=n,this.f|=16,this.i++}return A=e,zn(this),this.f&=-2,!0};ge.prototype.S=function(e){if(this.t===void 0){this.f|=36;for(var t=this.s;t!==void 0;t=t.n)t.S.S(t)}D.prototype.S.call(this,e)};ge.prototype.U=function(e){if(this.t!==void 0&&(D.prototype.U.call(this,e),this.t===void 0)){this.f&=-33;for(var t=this.s;t!==void 0;t=t.n)t.S.U(t)}};ge.prototype.N=function(){if(!(2&this.f)){this.f|=6;for(var e=this.t;e!==void 0;e=e.x)e.t.N()}};Object.defineProperty(ge.prototype,"value",{get:function(){if(1&this.f)throw new Error("Cycle detected");var e=Gn(this);if(this.h(),e!==void 0&&(e.i=this.i),16&this.f)throw this.v;return this.v}});function De(e,t){return new ge(e,t)}function Kn(e){var t=e.j;if(e.j=void 0,typeof t=="function"){te++;var n=A;A=void 0;try{t()}catch(o){throw e.f&=-2,e.f|=8,Bt(e),o}finally{A=n,dt()}}}function Bt(e){for(var t=e.s;t!==void 0;t=t.n)t.S.U(t);e.x=void 0,e.s=void 0,Kn(e)}function vi(e){if(A!==this)throw new Error("Out-of-order effect");zn(this),A=e,this.f&=-2;try{8&this.f&&Bt(this)}finally{dt()}}function Se(e,t){this.x=e,this.j=void 0,this.s=void 0,this.u=void 0,this.f=32,this.name=t?.name,Ie&&Ie.push(this)}Se.prototype.c=function(){var e=this.S();try{if(8&this.f||this.x===void 0)return;var t=this.x();typeof t=="function"&&(this.j=t)}finally{e()}};Se.prototype.S=function(){if(1&this.f)throw new Error("Cycle detected");this.f|=1,this.f&=-9,Kn(this),Vn(this),te++;var e=A;return A=this,vi.bind(this,e)};Se.prototype.N=function(){2&this.f||(this.f|=2,this.u=Me,Me=this)};Se.prototype.d=function(){this.f|=8,1&this.f||Bt(this)};Se.prototype.dispose=function(){this.d()};function ve(e,t){var n=new Se(e,t);try{n.c()}catch(r){throw n.d(),r}var o=n.d.bind(n);return o[Symbol.dispose]=o,o}var Xn,Ue,mt,bi=typeof window<"u"&&!!window.__PREACT_SIGNALS_DEVTOOLS__;var Yn=[];ve(function(){Xn=this.N})();function ke(e,t){C[e]=t.bind(null,C[e]||function(){})}function Fe(e){if(mt){var t=mt;mt=void 0,t()}mt=e&&e.S()}function Zn(e){var t=this,n=e.data,o=je(n);o.name="ReactiveDom",o.value=n;var r=W(function(){for(var l=t,u=t.__v;u=u.__;)if(u.__c){u.__c.__$f|=4;break}var p=De(function(){var f=o.value.value;return f===0?0:f===!0?"":f||""}),c=De(function(){return!Array.isArray(p.value)&&!At(p.value)}),m=ve(function(){if(this.N=Qn,c.value){var f=p.value;l.__v&&l.__v.__e&&l.__v.__e.nodeType===3&&(l.__v.__e.data=f)}}),d=t.__$u.d;return t.__$u.d=function(){m(),d.call(this)},[c,p]},[]),i=r[0],s=r[1];return i.value?s.peek():s.value}Zn.displayName="ReactiveTextNode";Object.defineProperties(D.prototype,{constructor:{configurable:!0,value:at(he,null).constructor},type:{configurable:!0,value:Zn},props:{configurable:!0,get:function(){var e=this;return{data:{get value(){return e.value}}}}},__b:{configurable:!0,value:1}});ke("__b",function(e,t){if(Fe(),Ue=void 0,typeof t.type=="string"){var n,o=t.props;for(var r in o)if(r!=="children"){var i=o[r];i instanceof D&&(n||(t.__np=n={}),n[r]=i,o[r]=i.peek())}}e(t)});ke("__r",function(e,t){if(e(t),t.type!==he){Fe();var n,o=t.__c;o&&(o.__$f&=-2,(n=o.__$u)===void 0&&(o.__$u=n=(function(r,i){var s;return ve(function(){s=this},{name:i}),s.c=r,s})((function(r){return function(){var i;bi&&((i=this.y)==null||i.call(this)),r.__$f|=1,r.setState({})}})(o),typeof t.type=="function"?t.type.displayName||t.type.name:""))),Ue=o,Fe(n)}});ke("__e",function(e,t,n,o){Fe(),Ue=void 0,e(t,n,o)});ke("diffed",function(e,t){Fe(),Ue=void 0;var n;if(typeof t.type=="string"&&(n=t.__e)){var o=t.__np,r=t.props,i=n.U;if(i)for(var s in i){var l=i[s];l===void 0||o&&s in o||(l.d(),i[s]=void 0)}if(o){i||(i={},n.U=i);for(var u in o){var p=i[u],c=o[u];p===void 0?(p=yi(n,u,c,r),i[u]=p):p.o(c,r)}}}e(t)});function yi(e,t,n,o){var r=t in e&&e.ownerSVGElement===void 0,i=x(n);return{o:function(s,l){i.value=s,o=l},d:ve(function(){this.N=Qn;var s=i.value.value;o[t]!==s&&(o[t]=s,r?e[t]=s:s!=null&&(s!==!1||t[4]==="-")?e.setAttribute(t,s):e.removeAttribute(t))})}}ke("unmount",function(e,t){if(typeof t.type=="string"){var n=t.__e;if(n){var o=n.U;if(o){n.U=void 0;for(var r in o){var i=o[r];i&&i.d()}}}var s=t.__np;if(s){var l=t.props;for(var u in s)l[u]=s[u]}t.__np=void 0}else{var p=t.__c;if(p){p.__$f|=8;var c=p.__$u;c&&(p.__$u=void 0,c.d())}}e(t)});ke("__h",function(e,t,n,o){o<3&&(t.__$f|=2),e(t,n,o)});xe.prototype.shouldComponentUpdate=function(e,t){if(this.__R)return!0;var n=this.__$u,o=n&&n.s!==void 0;for(var r in t)return!0;if(this.__f||typeof this.u=="boolean"&&this.u===!0){var i=2&this.__$f;if(!(o||i||4&this.__$f)||1&this.__$f)return!0}else if(!(o||4&this.__$f)||3&this.__$f)return!0;for(var s in e)if(s!=="__source"&&e[s]!==this.props[s])return!0;for(var l in this.props)if(!(l in e))return!0;return!1};function je(e,t){return W(function(){return x(e,t)},[])}function Gt(e,t){var n=R(e);return n.current=e,Ue.__$f|=4,W(function(){return De(function(){return n.current()},t)},[])}var wi=function(e){queueMicrotask(function(){queueMicrotask(e)})};function xi(){_e(function(){for(var e;e=Yn.shift();)Xn.call(e)})}function Qn(){Yn.push(this)===1&&(C.requestAnimationFrame||wi)(xi)}var to=function(e,t,n,o){var r;t[0]=0;for(var i=1;i<t.length;i++){var s=t[i++],l=t[i]?(t[0]|=s?1:2,n[t[i++]]):t[++i];s===3?o[0]=l:s===4?o[1]=Object.assign(o[1]||{},l):s===5?(o[1]=o[1]||{})[t[++i]]=l:s===6?o[1][t[++i]]+=l+"":s?(r=e.apply(l,to(e,l,n,["",null])),o.push(r),l[0]?t[0]|=2:(t[i-2]=0,t[i]=r)):o.push(l)}return o},eo=new Map;function no(e){var t=eo.get(this);return t||(t=new Map,eo.set(this,t)),(t=to(this,t.get(e)||(t.set(e,t=(function(n){for(var o,r,i=1,s="",l="",u=[0],p=function(d){i===1&&(d||(s=s.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?u.push(0,d,s):i===3&&(d||s)?(u.push(3,d,s),i=2):i===2&&s==="..."&&d?u.push(4,d,0):i===2&&s&&!d?u.push(5,0,!0,s):i>=5&&((s||!d&&i===5)&&(u.push(i,0,s,r),i=6),d&&(u.push(i,d,0,r),i=6)),s=""},c=0;c<n.length;c++){c&&(i===1&&p(),p(c));for(var m=0;m<n[c].length;m++)o=n[c][m],i===1?o==="<"?(p(),u=[u],i=3):s+=o:i===4?s==="--"&&o===">"?(i=1,s=""):s=o+s[0]:l?o===l?l="":s+=o:o==='"'||o==="'"?l=o:o===">"?(p(),i=1):i&&(o==="="?(i=5,r=s,s=""):o==="/"&&(i<5||n[c][m+1]===">")?(p(),i===3&&(u=u[0]),i=u,(u=u[0]).push(2,0,i),i=0):o===" "||o==="	"||o===`
`||o==="\r"?(p(),i=2):s+=o),i===3&&s==="!--"&&(i=4,u=u[0])}return p(),u})(e)),t),arguments,[])).length>1?t:t[0]}var a=no.bind(at);function Ht({title:e,onClose:t,children:n,footer:o,wide:r=!1}){let i=R(null),s=ue();return v(()=>{let p=document.activeElement;return i.current.showModal(),()=>p?.isConnected&&p.focus()},[]),a`<dialog
    ref=${i} class="dialog ${r?"dialog-wide":""}" aria-labelledby=${s} onCancel=${p=>{p.preventDefault(),t()}} onClick=${p=>p.target===i.current&&t()}
  >
    <div class="dialog-box">
      <header class="dialog-header">
        <h2 id=${s}>${e}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${t}>×</button>
      </header>
      <div class="dialog-body">${n}</div>
      ${o&&a`<footer class="dialog-footer">${o}</footer>`}
    </div>
  </dialog>`}var Je=x(null);function ht({title:e,text:t,label:n,isDangerous:o=!1}){return Je.value?.answer(!1),new Promise(r=>{let i=s=>{Je.value=null,r(s)};Je.value={title:e,text:t,label:n,isDangerous:o,answer:i}})}function oo(){if(Je.value===null)return null;let{title:e,text:t,label:n,isDangerous:o,answer:r}=Je.value,i=a`
    <button type="button" class="button" onClick=${()=>r(!1)}>Keep</button>
    <button type="button" class="button ${o?"button-bad":"button-primary"}" onClick=${()=>r(!0)}>
      ${n}
    </button>
  `;return a`<${Ht} title=${e} onClose=${()=>r(!1)} footer=${i}><p>${t}</p></>`}var ro=["generate","gallery","queue","job","fleet","loras","keys","tenants","webhooks"],Vt=x(so(""));function E(e,t="",n={}){let o=t?`${e}/${encodeURIComponent(t)}`:e,r=new URLSearchParams(n).toString();return`#/${o}${r?`?${r}`:""}`}function ne(e,t="",n={}){location.hash=E(e,t,n)}function io(){let e=()=>Vt.value=so(location.hash);addEventListener("hashchange",e),e()}function so(e){let[t,n=""]=e.replace(/^#\/?/,"").split("?"),[o,r=""]=t.split("/");return{view:ro.includes(o)?o:ro[0],arg:Si(r),query:Object.fromEntries(new URLSearchParams(n))}}function Si(e){try{return decodeURIComponent(e)}catch{return e}}var zt={g:"generate",a:"gallery",q:"queue",f:"fleet",l:"loras",k:"keys",t:"tenants",w:"webhooks"},ki=[["Ctrl + Enter","submit the form of the generate view"],["← →","turn over the images of a job"],["?","show this list"],["Esc","close a dialog"]],Kt=x(!1);function Xt(){Kt.value=!0}function ao(){if(v(()=>{let n=!1,o=r=>{if(!(r.ctrlKey||r.metaKey||r.altKey||Ei(r.target))&&!document.querySelector("dialog[open]")){if(r.key==="?")Xt();else if(n&&zt[r.key])ne(zt[r.key]);else if(r.key==="g"){n=!0;return}n=!1}};return addEventListener("keydown",o),()=>removeEventListener("keydown",o)},[]),!Kt.value)return null;let e=()=>Kt.value=!1,t=[...Object.entries(zt).map(([n,o])=>[`g ${n}`,`go to ${o}`]),...ki];return a`<${Ht} title="Keyboard shortcuts" onClose=${e}>
    <dl class="shortcuts">
      ${t.map(([n,o])=>a`<div key=${n}><dt>${n.split(" ").filter(r=>r!=="+").map(r=>a`<kbd>${r}</kbd>`)}</dt><dd>${o}</dd></div>`)}
    </dl>
  </>`}function Ei(e){return e.isContentEditable||["INPUT","TEXTAREA","SELECT"].includes(e.tagName)}var Ci=8e3,We=x([]),Ti=0;function I(e,t="info"){let n=Ti+=1;We.value=[...We.value.filter(o=>o.text!==e),{id:n,text:e,kind:t}],t!=="bad"&&setTimeout(()=>lo(n),Ci)}function Yt(){return a`<div class="toasts" role="status" aria-live="polite">
    ${We.value.map(({id:e,text:t,kind:n})=>a`<div class="toast toast-${n}" key=${e}>
        <p>${t}</p>
        <button type="button" class="icon-button" aria-label="Close the message" onClick=${()=>lo(e)}>×</button>
      </div>`)}
  </div>`}function lo(e){We.value=We.value.filter(t=>t.id!==e)}var Ee=x("lost"),co=["status","progress","done","reset","unauthorized"],Ri=3e3,Oi=6e4,Zt=new Map(co.map(e=>[e,new Set])),ce=null,$t=null,Qt=!1;function F(e,t){return Zt.get(e).add(t),()=>Zt.get(e).delete(t)}function fo(){Qt||(Qt=!0,document.addEventListener("visibilitychange",mo),en())}function po(){Qt=!1,document.removeEventListener("visibilitychange",mo),tn()}function en(){tn(),ce=new EventSource("v1/events");let e=!1;ce.onopen=()=>{Ee.value="open",e||uo("reset",{}),e=!0},ce.onerror=()=>{Ee.value="lost",ce?.readyState===EventSource.CLOSED&&($t=setTimeout(en,Ri))};for(let t of co)ce.addEventListener(t,n=>uo(t,JSON.parse(n.data)))}function tn(){clearTimeout($t),ce?.close(),ce=null,Ee.value="lost"}function mo(){clearTimeout($t),document.hidden?$t=setTimeout(tn,Oi):ce===null&&en()}function uo(e,t){for(let n of Zt.get(e))n(t)}var Ce={csrfToken:null,onUnauthorized:()=>{}},_t=class extends Error{constructor(t,n={},o=null){super(n.detail||"the API does not answer"),this.status=t,this.code=n.code??"",this.detail=this.message,this.field=n.field??null,this.errors=n.errors??[],this.estimate=n.estimate??null,this.retryAfterS=o}};async function k(e,{method:t="GET",json:n,body:o,headers:r={},signal:i}={}){let s={Accept:"application/json, */*;q=0.8",...Pi(t),...r};n!==void 0&&(s["Content-Type"]="application/json",o=JSON.stringify(n));let l;try{l=await fetch(e,{method:t,body:o,headers:s,signal:i,credentials:"same-origin"})}catch(p){throw p.name==="AbortError"?p:new _t(0)}let u=await Ai(l);if(l.ok)return u;throw Li(l.status,u,l.headers.get("Retry-After"))}function Pi(e){return e==="GET"||!Ce.csrfToken?{}:{"X-CSRF-Token":Ce.csrfToken}}async function Ai(e){if(e.status===204||e.status===304)return null;let t=e.headers.get("Content-Type")??"";return/json/.test(t)?Ni(await e.text()):e.ok?e.blob():{}}function Ni(e){try{return JSON.parse(e)}catch{return{}}}function Li(e,t,n){return e===401&&Ce.onUnauthorized(),new _t(e,t??{},n?Number(n):null)}var Ii="status,created_at,started_at,finished_at,queue_position,progress,model,prompt,images,error,warnings,priority,estimate",Mi=50,$o=4,qi=50,G=x(new Map),Di=x(null),Fi=x(!1),nn=new Set,_o=null;function go(){let e=[F("reset",()=>vo().catch(()=>{})),F("status",({job:t,status:n})=>{j(n)&&ho(t,{status:n}),(n!=="running"||!G.value.has(t))&&on(t)}),F("progress",({job:t,step:n,total:o})=>ho(t,{progress:{step:n,total:o}})),F("done",({job:t})=>on(t))];return()=>e.forEach(t=>t())}async function vo(){let e=await k(`v1/jobs?limit=${Mi}&fields=${Ii}`),t=e.next_cursor&&e.jobs.at(-1).created_at,n=[...G.value.values()].filter(o=>t&&o.created_at<t);gt([...e.jobs,...n]),n.filter(o=>j(o.status)).slice(0,$o).forEach(o=>on(o.id)),Di.value=e.next_cursor,Fi.value=!0}async function Be(e){try{let t=await k(`v1/jobs/${e}`),n={...t,model:t.request.model,prompt:t.request.prompt};return Ui(n),n}catch(t){if(t.status!==404)throw t;gt([...G.value.values()].filter(n=>n.id!==e));return}}async function Te(e){try{await k(`v1/jobs/${e}/cancel`,{method:"POST"})}catch(t){I(`The job was not cancelled: ${t.detail}`,"bad")}}async function bo(e){try{await k(`v1/jobs/${e}`,{method:"DELETE"})}catch(t){if(t.status!==404)return I(`The job was not deleted: ${t.detail}`,"bad"),!1}return gt([...G.value.values()].filter(t=>t.id!==e)),!0}function j(e){return e==="queued"||e==="running"}function yo(e){return`v1/jobs/${e.id}/preview?step=${e.progress?.step??0}`}function H(e,t){return`v1/jobs/${e}/images/${t}`}function ho(e,t){let n=G.value.get(e);n&&(G.value=new Map(G.value).set(e,{...n,...t}))}function Ui(e){G.value.has(e.id)?G.value=new Map(G.value).set(e.id,e):gt([e,...G.value.values()])}function gt(e){e.sort((t,n)=>t.created_at<n.created_at?1:t.created_at>n.created_at?-1:0),G.value=new Map(e.map(t=>[t.id,t]))}function on(e){nn.add(e),_o??=setTimeout(ji,qi)}async function ji(){let e=[...nn];nn.clear(),_o=null;try{await(e.length>$o?vo():Promise.all(e.map(Be)))}catch{}}var K=x(void 0);function Ge(e){let t=K.value?.scopes??[];return t.includes(e)||t.includes("admin")}async function rn(){Ce.onUnauthorized=()=>vt(null);try{vt(await k("v1/session"))}catch(e){e.status!==401&&setTimeout(rn,2e3)}}async function wo(e){vt(await k("v1/session",{method:"POST",json:{key:e}}))}async function xo(){await k("v1/session",{method:"DELETE"}),vt(null)}function vt(e){Ce.csrfToken=e?.csrf_token??null,K.value=e&&{...e,auth:e.key_id===null?"off":"keys"}}var sn=["auto","light","dark"],So="swiftdiffusion.theme",an=x("auto");function ko(){let e=null;try{e=localStorage.getItem(So)}catch{}Co(sn.includes(e)?e:"auto")}function Eo(e){Co(e);try{localStorage.setItem(So,e)}catch{}}function Co(e){an.value=e,e==="auto"?delete document.documentElement.dataset.theme:document.documentElement.dataset.theme=e}var To=!0;function M({title:e,actions:t,children:n,className:o=""}){let r=R(null);return v(()=>{To||r.current.focus(),To=!1},[]),v(()=>{document.title=`${e} – swiftdiffusion`},[e]),a`<div class="page ${o}">
    <header class="page-header">
      <h1 ref=${r} tabindex="-1">${e}</h1>
      ${t&&a`<div class="page-actions">${t}</div>`}
    </header>
    ${n}
  </div>`}function Ro(){return a`<${M} title="API keys" />`}function Oo(){return a`<${M} title="Tenants" />`}function Po(){return a`<${M} title="Webhooks" />`}function Ao(){return a`<${M} title="Fleet" />`}function z({title:e,children:t}){return a`<div class="empty">
    <p class="empty-title">${e}</p>
    <div class="empty-text">${t}</div>
  </div>`}function fe({error:e,onRetry:t}){return a`<div class="empty empty-bad" role="alert">
    <p class="empty-title">${e.detail}</p>
    ${t&&a`<button type="button" class="button" onClick=${t}>Try again</button>`}
  </div>`}var Ji="created_at,model,prompt,images",Wi=40,Bi=300;function No(){let e={images:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},t=new Map,n=null,o=null,r=Promise.resolve(),i=m=>k(`v1/jobs?status=succeeded&limit=${Wi}&fields=${Ji}${m?`&cursor=${encodeURIComponent(m)}`:""}`),s=()=>{let m=[...t.values()].sort((d,f)=>d.created_at<f.created_at?1:-1);e.images.value=m.flatMap(d=>d.images.map((f,$)=>({key:`${d.id}-${$}`,job:d,image:f,n:$}))),e.hasOlder.value=n!==null},l=m=>r=r.then(async()=>{try{await m(),e.error.value=null}catch(d){e.error.value=d}e.isLoaded.value=!0}),u=()=>l(async()=>{let m=await i(),d=m.next_cursor===null||m.jobs.some(({id:f})=>t.has(f));(!d||!t.size)&&(n=m.next_cursor),t=new Map([...d?t:[],...m.jobs.map(f=>[f.id,f])]),m.next_cursor===null&&(t=new Map(m.jobs.map(f=>[f.id,f]))),s()});return{...e,start:()=>{let m=()=>o??=setTimeout(()=>(o=null,u()),Bi),d=[F("reset",m),F("done",({status:f})=>f==="succeeded"&&m())];return u(),()=>{d.forEach(f=>f()),clearTimeout(o)}},load:u,loadOlder:()=>l(async()=>{if(n===null)return;let m=await i(n);for(let d of m.jobs)t.set(d.id,d);n=m.next_cursor,s()})}}var Gi="600px";function Lo({job:e,image:t,n}){let o=e.prompt||"without a prompt";return a`<li class="tile">
    <a class="tile-image" href=${E("job",e.id)} aria-label="Open the job of “${o}”">
      <${Hi} src=${H(e.id,n)} image=${t} />
    </a>
    <p class="tile-prompt" title=${o}>${o}</p>
    <p class="tile-actions">
      <a href=${E("generate","",{from:e.id})}>Same again</a>
      <a href=${E("gallery","",{verify:`${e.id}-${n}`})}>Verify</a>
    </p>
  </li>`}function Hi({src:e,image:t}){let n=R(null),[o,r]=g(!1),[i,s]=g(!1);return v(()=>{let l=new IntersectionObserver(u=>r(u.at(-1).isIntersecting),{rootMargin:Gi});return l.observe(n.current),()=>l.disconnect()},[]),a`<span ref=${n}>
    ${i&&a`<span class="muted">gone: its time is over</span>`}
    ${o&&!i&&a`<img src=${e} width=${t.width} height=${t.height} alt="" loading="lazy" decoding="async" onError=${()=>s(!0)} />`}
  </span>`}function be({label:e,accept:t="image/*",multiple:n=!1,hint:o,error:r,onFiles:i,children:s}){let[l,u]=g(!1),p=R(0),c=R(null),m=ue(),d=w=>{let h=[...w??[]];h.length&&i(n?h:h.slice(0,1))},f=w=>h=>{h.preventDefault(),p.current+=w,u(p.current>0)},$=w=>{w.preventDefault(),p.current=0,u(!1),d(w.dataTransfer?.files)};return a`<div
    class="file-drop ${l?"file-drop-over":""} ${r?"file-drop-bad":""}"
    onDragEnter=${f(1)} onDragLeave=${f(-1)} onDragOver=${w=>w.preventDefault()} onDrop=${$}
  >
    <input
      ref=${c} type="file" hidden accept=${t}
      multiple=${n} onChange=${w=>{d(w.target.files),w.target.value=""}}
    />
    ${s??a`<button
      type="button" class="file-drop-button" aria-describedby=${r?`${m}-error`:void 0}
      onClick=${()=>c.current.click()}
    >
      <strong>${e}</strong><span>${o??"drop a file here, or press to pick one"}</span>
    </button>`}
    ${r&&a`<p class="field-error" id="${m}-error">${r}</p>`}
  </div>`}function bt(e){return JSON.parse(e,(t,n,o)=>typeof n!="number"||!o?.source||!JSON.rawJSON||String(n)===o.source?n:JSON.rawJSON(o.source))}function ln(e){return JSON.isRawJSON?.(e)?Number(e.rawJSON):e}function X(e){return JSON.isRawJSON?.(e)?e.rawJSON:e!==null&&typeof e=="object"?JSON.stringify(e):String(e??"")}var Vi="urn:swiftdiffusion:image:1:",zi="http://ns.adobe.com/xmp/note/",Ki={lt:"<",gt:">",amp:"&",quot:'"',apos:"'"};function Mo(e){return Do(e,Vi)}function qo(e){return Do(e,zi).HasExtendedXMP}function Do(e,t){let n=new TextDecoder().decode(e),o=[...n.matchAll(/\sxmlns:([\w.-]+)\s*=\s*(["'])(.*?)\2/gs)].filter(([,,,i])=>i===t),r={};for(let i of new Set(o.map(([,s])=>s.replaceAll(".","\\.")))){let s=new RegExp(`<${i}:([\\w.-]+)(?:\\s[^<>]*)?>([^<]*)</${i}:\\1\\s*>`,"g"),l=new RegExp(`\\s${i}:([\\w.-]+)\\s*=\\s*(["'])(.*?)\\2`,"gs");for(let[,u,p]of n.matchAll(s))r[u]=Io(p);for(let[,u,,p]of n.matchAll(l))r[u]??=Io(p)}return r}function Io(e){return e.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi,(t,n,o,r)=>{if(r)return Ki[r]??t;let i=n?Number(n):parseInt(o,16);return i<=1114111?String.fromCodePoint(i):t})}var Xi=216,Yi=218,Zi=225,Fo="http://ns.adobe.com/xap/1.0/\0",Uo="http://ns.adobe.com/xmp/extension/\0",Qi=32,es=new TextDecoder("latin1");function jo(e){return e[0]===255&&e[1]===Xi&&e[2]===255}function Jo(e){let t=[...ns(e)],n=t.find(r=>Wo(r,Fo))?.subarray(Fo.length),o=n&&qo(n);return o?ts(t,o):n??null}function ts(e,t){let n=null,o=1;for(let r of e){let i=Uo.length+Qi;if(!Wo(r,Uo+t)||r.length<i+8)continue;let s=new DataView(r.buffer,r.byteOffset),[l,u]=[s.getUint32(i),s.getUint32(i+4)],p=r.subarray(i+8);if(n===null&&([n,o]=[new Uint8Array(Math.min(l,16<<20)),l]),u+p.length>n.length)break;n.set(p,u),o-=p.length}if(o!==0)throw new Error("a part of its metadata is missing");return n}function*ns(e){for(let t=2;t+4<=e.length&&e[t]===255&&e[t+1]!==Yi;){let n=e[t+2]<<8|e[t+3];e[t+1]===Zi&&(yield e.subarray(t+4,t+2+n)),t+=2+n}}function Wo(e,t){return es.decode(e.subarray(0,t.length))===t}var Go=[137,80,78,71,13,10,26,10],Re=new TextDecoder("latin1"),os=new TextDecoder;function Ho(e){return Go.every((t,n)=>e[n]===t)}async function Vo(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength),n={};for(let o=Go.length;o+12<=e.length;){let r=t.getUint32(o),i=Re.decode(e.subarray(o+4,o+8));if(o+12+r>e.length)break;let s=rs[i];if(s){let[l,u]=await s(e.subarray(o+8,o+8+r));n[l]=u}o+=12+r}return n}var rs={async tEXt(e){let[t,n]=He(e);return[Re.decode(t),Re.decode(n)]},async zTXt(e){let[t,n]=He(e);return[Re.decode(t),Re.decode(await Bo(n.subarray(1)))]},async iTXt(e){let[t,n]=He(e),[,o]=He(n.subarray(2)),[,r]=He(o);return[Re.decode(t),os.decode(n[0]===1?await Bo(r):r)]}};function He(e){let t=e.indexOf(0);return t<0?[e,e.subarray(e.length)]:[e.subarray(0,t),e.subarray(t+1)]}async function Bo(e){let t=new Blob([e]).stream().pipeThrough(new DecompressionStream("deflate"));return new Uint8Array(await new Response(t).arrayBuffer())}var is=new TextDecoder("latin1");function zo(e){return un(e,0)==="RIFF"&&un(e,8)==="WEBP"}function Ko(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength);for(let n=12;n+8<=e.length;){let o=t.getUint32(n+4,!0);if(un(e,n)==="XMP ")return e.subarray(n+8,n+8+o);n+=8+o+o%2}return null}function un(e,t){return is.decode(e.subarray(t,t+4))}var ss=256<<20;async function Xo(e){if(e.size>ss)throw new Error("the file is too large to be an image of this fleet");let t=new Uint8Array(await e.arrayBuffer()),[n,o]=await as(t);if(!("receipt"in o))throw new Error("the image carries no receipt: no fleet generated it, or a program saved it without its metadata");return{format:n,bytes:t,receipt:us(o.receipt),index:cs(o.index??o.picture??"0")}}async function as(e){if(Ho(e))return["png",await Vo(e).catch(()=>ls())];let[t,n]=jo(e)?["jpeg",Jo(e)]:zo(e)?["webp",Ko(e)]:[];if(!t)throw new Error("the file is no PNG, JPEG or WebP");return[t,n?Mo(n):{}]}function ls(){throw new Error("the file's metadata is damaged")}function us(e){let t;try{t=bt(e)}catch{throw new Error("the image's receipt is no JSON")}if(t===null||typeof t!="object"||Array.isArray(t))throw new Error("the image's receipt is no JSON object");return t}function cs(e){if(!/^[0-9]{1,6}$/.test(e))throw new Error("the image's index within its job is no number");return Number(e)}function Zo(e,t){return e.length===t.length&&e.every((n,o)=>n===t[o])}async function Qo(e,t){let[n,o]=[await Yo(e),await Yo(t)];if(n.width!==o.width||n.height!==o.height)return{sizes:[n,o].map(({width:c,height:m})=>[c,m])};let r=new ImageData(n.width,n.height),[i,s,l]=[0,0,0];for(let c=0;c<n.data.length;c+=4){let m=0;for(let d=c;d<c+3;d+=1){let f=Math.abs(n.data[d]-o.data[d]);l+=f*f,f>m&&(m=f)}m>i&&(i=m),m&&(s+=1,r.data.set([Math.min(255,80+m*4),Math.min(255,m*3),40],c)),r.data[c+3]=255}let u=n.width*n.height,p=l?10*Math.log10(65025*3*u/l):1/0;return{width:n.width,height:n.height,largest:i,share:s/u,psnrDb:p,difference:r}}async function Yo(e){let t={colorSpaceConversion:"none",premultiplyAlpha:"none",imageOrientation:"none"},n=await createImageBitmap(e,t).catch(()=>createImageBitmap(e)),o=document.createElement("canvas");[o.width,o.height]=[n.width,n.height];let r=o.getContext("2d",{willReadFrequently:!0});return r.drawImage(n,0,0),n.close(),r.getImageData(0,0,o.width,o.height)}function yt(e){return k("v1/jobs",{method:"POST",body:JSON.stringify({receipt:e}),headers:{"Content-Type":"application/json"}})}var fs=2e4;function wt({job:e,children:t=null}){let[n,o]=g(null),[r,i]=g(0),s=yo(e);return v(()=>{let l=setInterval(()=>i(u=>u+1),fs);return()=>clearInterval(l)},[]),v(()=>{let l=new AbortController;return ps(s,l.signal).then(u=>u&&o(u),()=>{}),()=>l.abort()},[s,e.status,r]),v(()=>()=>n&&URL.revokeObjectURL(n),[n]),n?a`<img class="preview" src=${n} alt="Preview after step ${e.progress?.step??0}" />`:t}async function ps(e,t){let n=await fetch(e,{signal:t,credentials:"same-origin"});return n.ok?URL.createObjectURL(await n.blob()):null}function pe({label:e,value:t,max:n=1,text:o}){let r=t!=null&&n>0;return a`<div class="progress">
    <progress aria-label=${e} value=${r?t:void 0} max=${r?n:void 0}></progress>
    ${o&&a`<span class="progress-text">${o}</span>`}
  </div>`}function B(e){if(e==null||!Number.isFinite(e))return"–";if(e<1)return`${e.toFixed(2)} s`;if(e<10)return`${e.toFixed(1)} s`;if(e<60)return`${Math.round(e)} s`;let t=Math.floor(e/60);return t<60?`${t} min ${Math.floor(e%60)} s`:t<1440?`${Math.floor(t/60)} h ${t%60} min`:`${Math.floor(t/1440)} d ${Math.floor(t%1440/60)} h`}function er(e){return e?new Date(e).toLocaleString(void 0,{dateStyle:"medium",timeStyle:"medium"}):"–"}function oe(e,t){return`${e.toLocaleString()} ${t}${e===1?"":"s"}`}function xt(e,t){let{step:n,total:o}=e.progress??{};if(e.status==="running"&&n>=2&&e.started_at){let s=(t-Date.parse(e.started_at))/1e3;return Math.max(0,s/n*(o-n))}let r=e.estimate?.eta_s;if(r==null)return null;let i=Date.parse(e.created_at)/1e3+r-t/1e3;return i>=0?i:null}function St({job:e}){let{step:t,total:n}=e.progress,o=ds(e),r=o===null?"":`, about ${B(o)} left`;return a`<div class="live">
    <div class="live-preview">
      ${e.status==="running"&&a`<${wt} job=${e}><p class="muted">No preview yet</p></>`}
      ${e.status==="queued"&&a`<p class="muted">No worker has begun it yet</p>`}
    </div>
    <div class="stack">
      ${e.status==="queued"?a`<p aria-live="polite">Waiting${e.queue_position?` at place ${e.queue_position} of your queue`:""}${r}.</p>`:a`<p aria-live="off">${n?`Step ${t} of ${n}`:"Preparing"}${r}.</p>`}
      <${pe} label="Progress of the job" value=${n?t:null} max=${n} text=${n?`${t} / ${n}`:""} />
    </div>
  </div>`}function ds(e){let[t,n]=g(Date.now());return v(()=>{let o=setInterval(()=>n(Date.now()),1e3);return()=>clearInterval(o)},[]),xt(e,t)}function kt(e){let[t,n]=g({job:null,error:null}),o=ut(async()=>{try{let r=await k(`v1/jobs/${encodeURIComponent(e)}`);n(i=>({job:ms(r,i.job),error:null}))}catch(r){n(i=>({job:r.status===404?null:i.job,error:r}))}},[e]);return v(()=>{o();let r=s=>l=>l.job===e&&s(l),i=[F("reset",o),F("status",r(o)),F("done",r(({status:s})=>s==="deleted"||o())),F("progress",r(({step:s,total:l})=>n(u=>hs(u,{step:s,total:l}))))];return()=>i.forEach(s=>s())},[e,o]),{...t,reload:o}}function ms(e,t){return e.status==="running"&&t?.progress.step>e.progress.step?{...e,progress:t.progress}:e}function hs(e,t){return e.job?{...e,job:{...e.job,progress:t}}:e}function tr({outcome:{again:e,result:t},image:n}){let o=W(()=>URL.createObjectURL(e),[e]);v(()=>()=>URL.revokeObjectURL(o),[o]);let r=t.isSameFile||t.largest===0;return a`
    <div class="notice ${r?"notice-ok":"notice-bad"}">
      <p><strong>${r?"Equal":"Different"}</strong></p>
      <p>${$s(t)}</p>
    </div>
    <div class="verify-images">
      <figure><img src=${n.url} alt="Your image" /><figcaption class="muted">Yours</figcaption></figure>
      <figure><img src=${o} alt="The image as it is generated now" /><figcaption class="muted">Generated now</figcaption></figure>
      ${!r&&t.difference&&a`<figure><${_s} data=${t.difference} /><figcaption class="muted">Where they differ</figcaption></figure>`}
    </div>
  `}function $s(e){if(e.isSameFile)return"The file is the same, byte for byte.";if(e.sizes){let[o,r]=e.sizes.map(([i,s])=>`${i} × ${s}`);return`Your image has ${o} pixels, its receipt gives ${r}.`}let t=`${e.width} × ${e.height}`;return e.largest===0?`All ${t} pixels are the same; the file around them is not.`:`${(100*e.share).toFixed(e.share<.01?3:1)} % of ${t} pixels differ, by at most ${e.largest} of 255; PSNR ${e.psnrDb.toFixed(1)} dB.`}function _s({data:e}){let t=R(null);return v(()=>t.current.getContext("2d").putImageData(e,0,0),[e]),a`<canvas ref=${t} width=${e.width} height=${e.height} role="img" aria-label="Difference of the two images"></canvas>`}function nr({found:e,image:t}){let[n,o]=g(null),[r,i]=g(null),[s,l]=g(!1);return a`
    ${!n&&a`<p><button type="button" class="button button-primary" disabled=${s} onClick=${async()=>{l(!0),i(null);try{o((await yt(e.receipt)).id)}catch(p){i(p.detail??p.message)}l(!1)}}>Generate it again and compare</button></p>`}
    ${r&&a`<div class="notice notice-bad" role="alert"><p><strong>The fleet refused the receipt</strong></p><p>${r}</p></div>`}
    ${n&&a`<${gs} key=${n} id=${n} found=${e} image=${t} />`}
  `}function gs({id:e,found:t,image:n}){let{job:o,error:r}=kt(e),[i,s]=g(null),l=o!==null&&!j(o.status);return v(()=>{l&&vs(o,t,n).then(s,u=>s({error:u.detail??u.message}))},[l]),a`<div class="stack" aria-live="polite">
    <p>Generated again by <a href=${E("job",e)}>job ${e}</a></p>
    ${r&&a`<p class="field-error">${r.detail}</p>`}
    ${o&&!l&&a`<${St} job=${o} />`}
    ${l&&!i&&a`<p class="muted">Comparing …</p>`}
    ${i?.error&&a`<div class="notice notice-bad"><p><strong>Not compared</strong></p><p>${i.error}</p></div>`}
    ${i?.result&&a`<${tr} outcome=${i} image=${n} />`}
    ${o?.warnings.length>0&&a`<div class="notice notice-warn">
      <p><strong>Warnings</strong></p>
      <ul>${o.warnings.map(u=>a`<li key=${u}>${u}</li>`)}</ul>
    </div>`}
  </div>`}async function vs(e,{index:t,bytes:n},o){if(e.status!=="succeeded")throw new Error(e.error?.detail??`the job was ${e.status}`);if(t>=e.images.length)throw new Error(`the image claims to be image ${t+1}, but its receipt is of ${e.images.length}`);let r=await k(H(e.id,t),{headers:{Accept:"image/*"}});return Zo(n,new Uint8Array(await r.arrayBuffer()))?{again:r,result:{isSameFile:!0}}:{again:r,result:await Qo(o.blob,r)}}function or({chosen:e}){let[t,n]=g(null),[o,r]=g(null),i=R(null),s=async(u,p)=>{r(null),n({name:p,blob:u,url:URL.createObjectURL(u)}),r(await Xo(u).catch(c=>({error:c.message})))};return v(()=>()=>t&&URL.revokeObjectURL(t.url),[t]),v(()=>{let[,u,p]=/^([0-9a-f]{16})-([0-9]+)$/.exec(e??"")??[];u&&(i.current.focus(),k(H(u,p),{headers:{Accept:"image/*"}}).then(c=>s(c,`image ${Number(p)+1} of job ${u}`)).catch(c=>r({error:c.detail??c.message})))},[e]),a`<section class="card stack verify" aria-labelledby="verify-title">
    <div class="panel-header">
      <h2 ref=${i} id="verify-title" tabindex="-1">Verify an image</h2>
      ${(t||o)&&a`<button type="button" class="button button-small" onClick=${()=>{n(null),r(null),e&&ne("gallery")}}>Close</button>`}
    </div>
    <${be}
      label="Drop an image here" accept="image/png,image/jpeg,image/webp" onFiles=${([u])=>s(u,u.name)}
      hint="A PNG, JPEG or WebP that a fleet has generated: its receipt is read here, and the image generated again and compared."
    />
    ${o?.error&&a`<div class="notice notice-bad" role="alert"><p><strong>Not verified</strong></p><p>${o.error}.</p></div>`}
    ${t&&o?.receipt&&a`<div class="verify-found" key=${t.url}>
      <figure class="verify-image"><img src=${t.url} alt="The image to verify" /><figcaption class="muted">${t.name}</figcaption></figure>
      <div class="stack">
        <${bs} found=${o} />
        <${nr} found=${o} image=${t} />
      </div>
    </div>`}
  </section>`}function bs({found:{receipt:e,index:t,format:n}}){let{spec:o={},worker:r={}}=e,i=u=>(u??[]).map(({name:p,sha256:c})=>`${p} (${String(c).slice(0,12)})`).join(", "),s=Object.entries(r?.versions??{}).map(([u,p])=>`${u} ${X(p)}`).join(", "),l=[["Prompt",X(o.prompt)],["Model",`${X(o.model)} (${X(e.model_sha256).slice(0,12)})`],["Image",`${X(o.width)} × ${X(o.height)}, ${n.toUpperCase()}, image ${t+1} of its job`],["Steps",`${X(o.num_inference_steps)}, ${X(o.scheduler)}`],["Seed",X(o.seeds??o.seed)],["ControlNets",i(e.controlnets)],["LoRAs",i(e.loras)],["Computed on",[X(r?.device),s].filter(Boolean).join(": ")]];return a`<dl class="facts">
      ${l.filter(([,u])=>u).map(([u,p])=>a`<div key=${u}><dt>${u}</dt><dd>${p}</dd></div>`)}
    </dl>
    <details>
      <summary>The whole receipt</summary>
      <pre class="panel-text" tabindex="0" role="region" aria-label="Receipt">${JSON.stringify(e,null,2)}</pre>
    </details>`}function rr({query:e}){let t=W(No,[]);return v(()=>t.start(),[t]),a`<${M} title="Gallery">
    <${or} chosen=${e.verify} />
    <${ys} gallery=${t} />
  </>`}function ys({gallery:{images:e,isLoaded:t,error:n,hasOlder:o,load:r,loadOlder:i}}){let s=R(null);return v(()=>{if(!s.current)return;let l=new IntersectionObserver(u=>u.at(-1).isIntersecting&&i(),{rootMargin:"800px"});return l.observe(s.current),()=>l.disconnect()},[t.value,o.value,e.value.length]),t.value?n.value&&!e.value.length?a`<${fe} error=${n.value} onRetry=${r} />`:e.value.length?a`
    <h2 class="visually-hidden">Finished images</h2>
    <ul class="tiles">${e.value.map(l=>a`<${Lo} ...${l} key=${l.key} />`)}</ul>
    ${o.value&&a`<p class="gallery-end" ref=${s}><button type="button" class="button" onClick=${i}>Show older images</button></p>`}
  `:a`<${z} title="No images yet"><a href=${E("generate")}>Generate the first one</a>; it appears here when it is finished.</>`:a`<p class="muted" aria-busy="true">Reading the images …</p>`}function q({label:e,hint:t,error:n,hideLabel:o=!1,className:r="",children:i}){let s=ue(),l=Array.isArray(i)?i[0]:i,u=[t&&`${s}-hint`,n&&`${s}-error`].filter(Boolean).join(" ");return a`<div class="field ${r} ${n?"field-bad":""}">
    <label for=${s} class=${o?"visually-hidden":"field-label"}>${e}</label>
    ${En(l,{id:s,"aria-describedby":u||void 0,"aria-invalid":n?"true":void 0})}
    ${t&&a`<p class="field-hint" id="${s}-hint">${t}</p>`}
    ${n&&a`<p class="field-error" id="${s}-error">${n}</p>`}
  </div>`}function Y({options:e,value:t,onChange:n,...o}){let r=e.map(i=>Array.isArray(i)?i:[i,i]);return a`<select ...${o} value=${t} onChange=${i=>n(i.target.value)}>
    ${r.map(([i,s])=>a`<option key=${i} value=${i} selected=${i===t}>${s}</option>`)}
  </select>`}function ir({label:e,checked:t,onChange:n,...o}){return a`<label class="checkbox">
    <input type="checkbox" ...${o} checked=${t} onChange=${r=>n(r.target.checked)} />
    <span>${e}</span>
  </label>`}function sr(e){let t=Object.fromEntries((e?.errors??[]).map(({field:n,detail:o})=>[n,o]));return e?.field&&!(e.field in t)&&(t[e.field]=e.detail),t}function ye(e,{everyMs:t=0}={}){let[n,o]=g({data:null,error:null,isLoading:e!==null}),r=R(null),i=ut(async()=>{if(e===null)return;r.current?.abort();let s=r.current=new AbortController;try{let l=await k(e,{signal:s.signal});o({data:l,error:null,isLoading:!1})}catch(l){if(l.name==="AbortError")return;o(u=>({data:u.data,error:l,isLoading:!1}))}},[e]);return v(()=>{i();let s=()=>!document.hidden&&i(),l=t?setInterval(s,t):null;return t&&document.addEventListener("visibilitychange",s),()=>{clearInterval(l),document.removeEventListener("visibilitychange",s),r.current?.abort()}},[i,t]),{...n,reload:i}}var ws=500,xs=1e6,Ss=2e3;function ar(e){let[t,n]=g({estimate:null,error:null}),r=!e.prompt.trim()?"":JSON.stringify(e);return v(()=>{if(!r){n({estimate:null,error:null});return}let i=new AbortController,l=setTimeout(async()=>{let u={"Content-Type":"application/json"};try{let p=await k("v1/jobs?dry_run=1",{method:"POST",body:r,headers:u,signal:i.signal});n({estimate:p,error:null})}catch(p){p.name!=="AbortError"&&n({estimate:p.estimate,error:p})}},r.length>xs?Ss:ws);return()=>{clearTimeout(l),i.abort()}},[r]),t}function lr({estimate:e}){if(!e)return null;let{device_seconds:t,eta_s:n,eta_p90_s:o,queue_position:r}=e;return n===null?a`<span>No worker serves this model now: the job would wait.</span>`:a`<span>
    Done in about <strong>${B(n)}</strong>${r>1?`, behind ${r-1} of your jobs`:""};
    ${" "}nine of ten such jobs within ${B(o)}. It uses a device for ${B(t)}.
  </span>`}function re({label:e,of:t,value:n,min:o,max:r,step:i,error:s,onChange:l,extra:u}){let p=ue(),c=t?`${e} of ${t}`:e,m=f=>f.target.value!==""&&l(Number(f.target.value)),d=s?{"aria-invalid":"true","aria-describedby":`${p}-error`}:{};return a`<div class="slider ${s?"field-bad":""}">
    <label class="field-label slider-label" for=${p}>${e}${t&&a`<span class="visually-hidden"> of ${t}</span>`}</label>
    <input type="number" class="slider-number" aria-label="${c}, as a number" step=${i} value=${n} ...${d} onInput=${m} />
    ${u}
    <input type="range" id=${p} min=${o} max=${r} step=${i} value=${n} onInput=${m} />
    ${s&&a`<p class="field-error" id="${p}-error">${s}</p>`}
  </div>`}var ks=300,ur=x(!0);function cr({controlnet:e,n:t,size:n}){let[o,r]=g({url:null,error:null}),{image:i,preprocessor:s,preprocessor_options:l}=e,{width:u,height:p}=n,c=JSON.stringify(l);return v(()=>{let m=new AbortController,f=setTimeout(async()=>{let $={image:i.data,preprocessor:s,preprocessor_options:JSON.parse(c)};u&&($.width=Number(u)),p&&($.height=Number(p));try{let w=await k("v1/controlnets/preprocess",{method:"POST",json:$,signal:m.signal});r({url:URL.createObjectURL(w),error:null})}catch(w){if(w.name==="AbortError")return;[404,405].includes(w.status)&&!w.field&&(ur.value=!1),r({url:null,error:w.detail})}},ks);return()=>{clearTimeout(f),m.abort()}},[i.data,s,c,u,p]),v(()=>()=>o.url&&URL.revokeObjectURL(o.url),[o.url]),ur.value?a`<figure class="control-map" aria-live="polite">
    ${o.url&&a`<img src=${o.url} alt="Control map ${t+1}: ${s}" />`}
    ${o.error?a`<figcaption class="field-error">${o.error}</figcaption>`:a`<figcaption class="muted">Control map: what the ControlNet is given.</figcaption>`}
  </figure>`:null}var Et={prompt:"",negative_prompt:"",model:"",width:"",height:"",num_inference_steps:"",guidance_scale:"",scheduler:"",seed:"",num_images:"1",strength:"",prompt_syntax:"plain",output_format:"png",output_quality:"",priority:"normal",image:null,mask_image:null,loras:[],controlnets:[]},fr=["width","height","num_inference_steps","guidance_scale","seed","num_images","strength","output_quality"],pr=["model","scheduler","negative_prompt"],dr=0,P=x(Et);function U(e){P.value={...P.value,...e}}function mr(){P.value=Et}function hr(e,t){let n={...Es,key:dr+=1,image:e,name:t};U({controlnets:[...P.value.controlnets,n]})}var Es={preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1};function cn(e,t){let n=P.value.controlnets.flatMap(o=>o.key!==e?[o]:t?[{...o,...t}]:[]);U({controlnets:n})}function fn(e){let t={prompt:e.prompt};for(let n of fr)e[n]!==""&&(t[n]=Number(e[n]));for(let n of pr)e[n]&&(t[n]=e[n]);return e.prompt_syntax!=="plain"&&(t.prompt_syntax=e.prompt_syntax),e.output_format!=="png"?t.output_format=e.output_format:delete t.output_quality,e.priority!=="normal"&&(t.priority=e.priority),e.image?t.image=e.image.data:delete t.strength,e.image&&e.mask_image&&(t.mask_image=e.mask_image.data),e.loras.length&&(t.loras=e.loras.map(({name:n,scale:o})=>({name:n,scale:Ts(o)}))),e.controlnets.length&&(t.controlnets=e.controlnets.map(({key:n,image:o,...r})=>({...r,image:o.data}))),t}function $r({id:e,request:t}){let n=(r,i,s)=>r&&{data:`sha256:${r}`,thumb:i,name:s},o=Object.fromEntries([...fr,...pr,"prompt","prompt_syntax","output_format"].map(r=>[r,Cs(t[r],Et[r])]));P.value={...Et,...o,num_images:String(t.seeds?.length??t.num_images),image:n(t.image,null,"the image of that job")??null,mask_image:n(t.mask_image,null,"the mask of that job")??null,loras:t.loras.map(({name:r,scale:i})=>({name:r,scale:typeof i=="number"?i:JSON.stringify(i)})),controlnets:t.controlnets.map((r,i)=>({key:dr+=1,image:n(r.image,`v1/jobs/${e}/controlnets/${i}/image`,"stored image"),name:r.name,preprocessor:r.preprocessor,preprocessor_options:r.preprocessor_options,conditioning_scale:r.conditioning_scale,guidance_start:r.guidance_start,guidance_end:r.guidance_end}))}}function Cs(e,t){return e==null?t:String(e)}function Ts(e){return typeof e=="string"?JSON.parse(e):e}function Ct(e){return new Promise((t,n)=>{let o=new FileReader;o.onerror=()=>n(o.error),o.onload=()=>t({data:o.result,thumb:o.result,name:e.name}),o.readAsDataURL(e)})}function Ve({label:e,hint:t,error:n,value:o,onChange:r}){let i=([s])=>Ct(s).then(r,()=>I(`${s.name} could not be read.`,"bad"));return o?a`<${be} label="${e}: another file" error=${n} onFiles=${i}>
    <div class="image-input">
      ${o.thumb?a`<img src=${o.thumb} alt="" />`:a`<div class="image-input-none"></div>`}
      <div class="grow">
        <p class="field-label">${e}</p>
        <p class="muted image-input-name">${o.name}</p>
      </div>
      <button type="button" class="button button-small" onClick=${()=>r(null)}>
        Remove<span class="visually-hidden"> ${e}</span>
      </button>
    </div>
  </>`:a`<${be} label=${e} hint=${t} error=${n} onFiles=${i} />`}function _r({names:e,preprocessors:t,size:n,errors:o}){let r=P.value.controlnets,i=async s=>{for(let l of s)try{hr(await Ct(l),e[0])}catch{I(`${l.name} could not be read.`,"bad")}};return a`<fieldset class="section">
    <legend>ControlNets</legend>
    ${r.map((s,l)=>a`<${Rs} key=${s.key} controlnet=${s} n=${l} names=${e} preprocessors=${t} size=${n} errors=${o} />`)}
    ${o.controlnets&&a`<p class="field-error">${o.controlnets}</p>`}
    ${e.length?a`<${be} label="Add a control image" multiple hint="drop an image here, or press to pick one" onFiles=${i} />`:a`<p class="muted">No ControlNet fits this model.</p>`}
  </fieldset>`}function Rs({controlnet:e,n:t,names:n,preprocessors:o,size:r,errors:i}){let{key:s,image:l,name:u,preprocessor:p,conditioning_scale:c,guidance_start:m,guidance_end:d}=e,f=_=>cn(s,_),$=_=>i[`controlnets.${t}.${_}`],w=n.includes(u)?n:[u,...n],h=`ControlNet ${t+1}`,S=_=>a`${_}<span class="visually-hidden"> of ${h}</span>`;return a`<div class="controlnet">
    <${Ve} label=${`Control image ${t+1}`} value=${l} error=${$("image")} onChange=${_=>cn(s,_&&{image:_})} />
    <div class="fields">
      <${q} label=${S("ControlNet")} error=${$("name")}>
        <${Y} options=${w} value=${u} onChange=${_=>f({name:_})} />
      </>
      <${q} label=${S("Preprocessor")} error=${$("preprocessor")}>
        <${Y}
          options=${o.map(_=>_.name)} value=${p}
          onChange=${_=>f({preprocessor:_,preprocessor_options:{}})}
        />
      </>
    </div>
    <${Os} controlnet=${e} preprocessors=${o} error=${$("preprocessor_options")} onChange=${f} />
    ${p!=="none"&&a`<${cr} controlnet=${e} n=${t} size=${r} />`}
    <${re}
      label="Weight" of=${h} value=${c} min=${0} max=${2} step=${.05} error=${$("conditioning_scale")}
      onChange=${_=>f({conditioning_scale:_})}
    />
    <div class="fields">
      <${re}
        label="From" of=${h} value=${m} min=${0} max=${1} step=${.05} error=${$("guidance_start")??i[`controlnets.${t}`]}
        onChange=${_=>f({guidance_start:_})}
      />
      <${re}
        label="To" of=${h} value=${d} min=${0} max=${1} step=${.05} error=${$("guidance_end")}
        onChange=${_=>f({guidance_end:_})}
      />
    </div>
  </div>`}function Os({controlnet:e,preprocessors:t,error:n,onChange:o}){let{preprocessor:r,preprocessor_options:i}=e,s=Object.entries(t.find(u=>u.name===r)?.options??{});if(!s.length)return null;let l=(u,p)=>o({preprocessor_options:{...i,[u]:p}});return a`<div class="fields">
    ${s.map(([u,p])=>{let c=p.maximum??64,m=p.type==="integer";return a`<${re}
        key=${u} label=${u.replaceAll("_"," ")} value=${i[u]??p.default}
        min=${p.minimum??(m?0:.5)} max=${c} step=${m?1:.5}
        onChange=${d=>l(u,d)}
      />`})}
    ${n&&a`<p class="field-error">${n}</p>`}
  </div>`}var Tt=8,Ps="v1/loras?limit=1000";function gr({errors:e}){let[t,n]=g(""),{data:o,error:r}=ye(Ps),i=P.value.loras,s=t.toLowerCase().split(/\s+/).filter(Boolean),l=(o?.loras??[]).filter(({name:d,problem:f})=>!f&&!i.some($=>$.name===d)),u=l.filter(({name:d})=>s.every(f=>d.toLowerCase().includes(f))),p=d=>{U({loras:[...i,{name:d,scale:1}]}),n("")},c=(d,f)=>U({loras:i.map($=>$.name===d?{name:d,scale:f}:$)}),m=d=>U({loras:i.filter(f=>f.name!==d)});return a`<fieldset class="section">
    <legend>LoRAs</legend>
    ${e.loras&&a`<p class="field-error">${e.loras}</p>`}
    ${i.map((d,f)=>a`<${As}
        key=${d.name} lora=${d} error=${e[`loras.${f}.name`]??e[`loras.${f}.scale`]??e[`loras.${f}`]}
        onChange=${$=>c(d.name,$)} onRemove=${()=>m(d.name)}
      />`)}
    ${r&&a`<p class="field-error">${r.detail}</p>`}
    ${o&&!o.loras.length&&a`<p class="muted">There are none yet: <a href=${E("loras")}>upload one</a>.</p>`}
    ${(l.length>Tt||t)&&a`<${q} label="Search LoRAs" hideLabel>
      <input type="search" placeholder="Search ${l.length} LoRAs" value=${t} onInput=${d=>n(d.target.value)} />
    </>`}
    <ul class="chips">
      ${u.slice(0,Tt).map(({name:d})=>a`<li key=${d}>
          <button type="button" class="chip" onClick=${()=>p(d)}>
            <span aria-hidden="true">+</span> <span class="visually-hidden">Add LoRA </span>${d}
          </button>
        </li>`)}
      ${u.length>Tt&&a`<li class="muted">and ${u.length-Tt} more</li>`}
      ${t&&!u.length&&a`<li class="muted">No LoRA is called so.</li>`}
    </ul>
  </fieldset>`}function As({lora:e,error:t,onChange:n,onRemove:o}){let{name:r,scale:i}=e,s=a`<button type="button" class="icon-button" aria-label="Remove LoRA ${r}" onClick=${o}>×</button>`;return typeof i=="number"?a`<${re} label=${r} value=${i} min=${-1} max=${2} step=${.05} error=${t} onChange=${n} extra=${s} />`:a`<div class="row"><span class="field-label">${r}</span><code class="grow">${i}</code>${s}</div>`}var Ns=[["png","PNG, lossless"],["jpeg","JPEG"],["webp","WebP"]],Ls=[["interactive","interactive: before my others"],["normal","normal"],["batch","batch: after my others"]],Is=2**32;function vr({catalog:e,errors:t}){let n=e.models.find(({name:l})=>l===P.value.model)??e.models.find(l=>l.default),{width:o,height:r,image:i}=P.value,s={width:o||(i?null:n?.width),height:r||(i?null:n?.height)};return a`
    <${Ms} errors=${t} />
    <${qs} models=${e.models} model=${n} errors=${t} />
    <${gr} errors=${t} />
    <${_r} names=${n?.controlnets??[]} preprocessors=${e.preprocessors} size=${s} errors=${t} />
    <${Fs} errors=${t} />
    <${Us} errors=${t} />
  `}function Ms({errors:e}){let{prompt:t,negative_prompt:n}=P.value;return a`<div class="stack">
    <${q} label="Prompt" error=${e.prompt}>
      <textarea rows="3" value=${t} required onInput=${ze("prompt")} placeholder="a red apple on a blue background"></textarea>
    </>
    <${q} label="Negative prompt" error=${e.negative_prompt}>
      <input value=${n} onInput=${ze("negative_prompt")} placeholder="what the image shall not show" />
    </>
  </div>`}function qs({models:e,model:t,errors:n}){let o=P.value,r=(l,u,p,c)=>a`<${q} label=${u} error=${n[l]}>
    <input type="number" value=${o[l]} placeholder=${p??""} onInput=${ze(l)} ...${c} />
  </>`,i=e.map(({name:l,workers:u})=>[l,u.length?l:`${l} (no worker)`]),s=[["",`the model's: ${t?.scheduler??""}`],...t?.schedulers??[]];return a`<fieldset class="section">
    <legend>Model</legend>
    <${q} label="Model" hideLabel error=${n.model}>
      <${Y} options=${i} value=${o.model||t?.name} onChange=${l=>U({model:l})} />
    </>
    <div class="fields fields-3">
      ${r("width","Width",t?.width,{min:8,step:8})} ${r("height","Height",t?.height,{min:8,step:8})}
      ${r("num_images","Images",1,{min:1})} ${r("num_inference_steps","Steps",t?.num_inference_steps,{min:1})}
      ${r("guidance_scale","Guidance",t?.guidance_scale,{min:0,step:.5})} <${Ds} error=${n.seed} />
    </div>
    <${q} label="Scheduler" error=${n.scheduler}>
      <${Y} options=${s} value=${o.scheduler} onChange=${l=>U({scheduler:l})} />
    </>
  </fieldset>`}function Ds({error:e}){let{seed:t}=P.value,n=()=>U({seed:t===""?String(Math.floor(Math.random()*Is)):""});return a`<div class="seed">
    <${q} label="Seed" error=${e}>
      <input type="number" min="0" value=${t} placeholder="random" onInput=${ze("seed")} />
    </>
    <button type="button" class="link-button" onClick=${n}>${t===""?"Fix one":"Random"}</button>
  </div>`}function Fs({errors:e}){let{image:t,mask_image:n,strength:o}=P.value,r=n?1:.8;return a`<fieldset class="section">
    <legend>Start from an image</legend>
    <${Ve}
      label="Image" hint="optional: drop one, or press to pick it" value=${t} error=${e.image}
      onChange=${i=>U(i?{image:i}:{image:null,mask_image:null,strength:""})}
    />
    ${t&&a`<${re}
        label="Strength: how much is generated anew" value=${o===""?r:Number(o)} min=${0} max=${1} step=${.05}
        error=${e.strength} onChange=${i=>U({strength:String(i)})}
      />
      <${Ve}
        label="Mask" hint="optional: white is generated anew, black stays" value=${n} error=${e.mask_image}
        onChange=${i=>U({mask_image:i})}
      />`}
  </fieldset>`}function Us({errors:e}){let{output_format:t,output_quality:n,priority:o,prompt_syntax:r}=P.value;return a`<fieldset class="section">
    <legend>Output and queue</legend>
    <div class="fields">
      <${q} label="File format" error=${e.output_format}>
        <${Y} options=${Ns} value=${t} onChange=${i=>U({output_format:i})} />
      </>
      ${t!=="png"&&a`<${q} label="Quality" error=${e.output_quality}>
        <input type="number" min="1" max="100" placeholder="95" value=${n} onInput=${ze("output_quality")} />
      </>`}
      <${q} label="Priority" error=${e.priority}>
        <${Y} options=${Ls} value=${o} onChange=${i=>U({priority:i})} />
      </>
    </div>
    <${ir}
      label="Weights in prompts, as A1111 writes them: (red:1.3)" checked=${r==="a1111"}
      onChange=${i=>U({prompt_syntax:i?"a1111":"plain"})}
    />
  </fieldset>`}function ze(e){return t=>U({[e]:t.target.value})}var js={succeeded:"ok",running:"accent",queued:"muted",failed:"bad",cancelled:"warn"};function Oe({status:e,kind:t}){return a`<span class="status status-${t??js[e]??"muted"}">${e}</span>`}var br="swiftdiffusion.submitted",Js=30,Ke=x(Ws());function yr(e){wr([e,...Ke.value].slice(0,Js))}function pn(e){wr(Ke.value.filter(t=>!e.includes(t)))}function Ws(){try{return JSON.parse(sessionStorage.getItem(br))??[]}catch{return[]}}function wr(e){Ke.value=e;try{sessionStorage.setItem(br,JSON.stringify(e))}catch{}}function xr(){let e=Ke.value;v(()=>{for(let o of e)G.value.has(o)||Be(o).then(r=>r||pn([o]),()=>{})},[e]);let t=e.map(o=>G.value.get(o)).filter(Boolean),n=t.filter(o=>!j(o.status)).map(o=>o.id);return a`<section class="results" aria-label="Results">
    <header class="row">
      <h2 class="grow">Results</h2>
      ${n.length>0&&a`<button type="button" class="button button-small" onClick=${()=>pn(n)}>Clear</button>`}
    </header>
    ${t.length?t.map(o=>a`<${Bs} key=${o.id} job=${o} />`):a`<${z} title="Nothing submitted yet">
          Describe an image at the left and press <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Previews appear here while it is generated; all
          jobs are in the <a href=${E("gallery")}>gallery</a>.
        </>`}
  </section>`}function Bs({job:e}){return a`<article class="job-card card" aria-label=${`Job: ${e.prompt}`} data-job=${e.id} data-status=${e.status}>
    <header class="row">
      <${Oe} status=${e.status} />
      <p class="grow job-prompt">${e.prompt}</p>
      ${j(e.status)&&a`<button type="button" class="button button-small" onClick=${()=>Te(e.id)}>Cancel</button>`}
      <a class="button button-small" href=${E("job",e.id)}>Details</a>
    </header>
    ${j(e.status)&&a`<${Gs} job=${e} />`}
    ${e.error&&a`<p class="field-error">${e.error.detail}</p>`}
    ${e.warnings?.map(t=>a`<p class="warning" key=${t}>${t}</p>`)}
    ${e.images?.length>0&&a`<${Vs} job=${e} />`}
    <p class="visually-hidden" role="status">${zs(e)}</p>
  </article>`}function Gs({job:e}){let{step:t=0,total:n=0}=e.progress??{},o=a`<div class="preview-none muted">${Hs(e)}</div>`;return a`
    <div class="previews"><${wt} job=${e}>${o}</></div>
    ${e.status==="running"&&a`<${pe} label="Steps of the job" value=${n?t:null} max=${n} text=${n?`${t} of ${n} steps`:"preparing"} />`}
  `}function Hs({status:e,queue_position:t,estimate:n}){if(e==="running")return"The first preview comes after a few steps.";let o=t>1?`Number ${t} of your queue.`:"Next in your queue.";return n?.eta_s?`${o} Done in about ${B(n.eta_s)}.`:o}function Vs({job:e}){return a`<ul class="images ${e.images.length>1?"images-many":""}">
    ${e.images.map(({seed:t,width:n,height:o},r)=>a`<li key=${r}>
        <a href=${H(e.id,r)} target="_blank" rel="noreferrer">
          <img
            class=${n<256?"pixelated":""} src=${H(e.id,r)} width=${n} height=${o}
            alt=${`Image ${r+1} of ${e.images.length}: ${e.prompt}`}
          />
        </a>
        <p class="row muted">
          <span>${n} × ${o}</span>
          <button type="button" class="link-button" onClick=${()=>U({seed:String(t)})}>Use seed ${t}</button>
        </p>
      </li>`)}
  </ul>`}function zs({status:e,prompt:t,images:n}){return e==="succeeded"?`${oe(n?.length??0,"image")} of “${t}”: done.`:e==="failed"||e==="cancelled"?`“${t}”: ${e}.`:""}var Ks=15e3;function Sr({query:e}){let t=ye("v1/models",{everyMs:Ks}),n=ye("v1/controlnets"),o=t.error??n.error;ea(e.from);let r=a`<button type="button" class="button button-small" onClick=${mr}>Clear the form</button>`;if(!t.data||!n.data)return a`<${M} title="Generate">${o&&a`<${fe} error=${o} onRetry=${()=>(t.reload(),n.reload())} />`}</>`;let i={models:t.data.models,preprocessors:n.data.preprocessors};return a`<${M} title="Generate" actions=${r} className="generate">
    <div class="generate-columns">
      <${Xs} catalog=${i} />
      <${xr} />
    </div>
  </>`}function Xs({catalog:e}){let t=R(null),[n,o]=g(null),[r,i]=g(!1),s=fn(P.value),{estimate:l,error:u}=ar(s);v(()=>o(null),[P.value]);let p=n??u,c=sr(p),m=p&&!Zs(p,P.value)?p.detail:null,d=async f=>{if(f?.preventDefault(),!(r||!P.value.prompt.trim())){i(!0);try{let{id:$}=await k("v1/jobs",{method:"POST",json:fn(P.value)});yr($),await Be($),Ys()}catch($){o($)}i(!1)}};return Qs(d),a`<form class="generate-form" ref=${t} onSubmit=${d} noValidate>
    <${vr} catalog=${e} errors=${c} />
    <div class="submit-bar">
      <button type="submit" class="button button-primary" disabled=${r||!P.value.prompt.trim()}>
        ${r?"Submitting …":"Generate"}
      </button>
      <div class="submit-text" aria-live="polite">
        ${m?a`<p class="field-error">${m}</p>`:a`<p class="muted"><${lr} estimate=${l} /></p>`}
      </div>
    </div>
  </form>`}function Ys(){let e=document.querySelector(".results");e&&e.getBoundingClientRect().top>innerHeight&&e.scrollIntoView({block:"start"})}function Zs(e,t){let n=e.field??e.errors[0]?.field;if(!n)return!1;let[o,r]=n.split(".");return o in t&&(r===void 0||r in t[o])}function Qs(e){let t=R(e);t.current=e,v(()=>{let n=o=>{o.key==="Enter"&&(o.ctrlKey||o.metaKey)&&!document.querySelector("dialog[open]")&&(o.preventDefault(),t.current())};return addEventListener("keydown",n),()=>removeEventListener("keydown",n)},[])}function ea(e){v(()=>{e&&k(`v1/jobs/${encodeURIComponent(e)}`).then($r,t=>I(t.detail,"bad"))},[e])}function kr({job:e,exact:t,onChange:n}){let[o,r]=g(!1),i=p=>async()=>{r(!0),await p(),r(!1)},s=i(async()=>{await Te(e.id),await n()}),l=i(async()=>{await ht({title:"Delete this job?",text:"Its images, its receipt and its record are removed for good. Images that you have saved stay as they are.",label:"Delete",isDangerous:!0})&&await bo(e.id)&&(I("The job is deleted.","ok"),ne("gallery"))}),u=i(async()=>{try{ne("job",(await yt(t.receipt)).id)}catch(p){I(`The receipt was refused: ${p.detail}`,"bad")}});return a`
    ${j(e.status)&&a`<button type="button" class="button button-bad" disabled=${o} onClick=${s}>Cancel</button>`}
    <a class="button" href=${E("generate","",{from:e.id})}>Same again</a>
    ${t?.receipt&&a`<button type="button" class="button" disabled=${o} onClick=${u}>Again from the receipt</button>`}
    ${!j(e.status)&&a`<button type="button" class="button button-bad" disabled=${o} onClick=${l}>Delete</button>`}
  `}function Cr({job:e}){return e.controlnets.length?a`<section class="card stack">
    <h2>ControlNets</h2>
    <ul class="controlnets">
      ${e.controlnets.map(({name:t,preprocessor:n,map_url:o},r)=>{let{conditioning_scale:i,guidance_start:s,guidance_end:l}=e.request.controlnets[r],u=`v1/jobs/${e.id}/controlnets/${r}`;return a`<li key=${r} class="stack">
          <h3>${t}</h3>
          <p class="muted">
            scale ${i}, from ${100*s} % to ${100*l} % of the steps
          </p>
          <div class="controlnet-images">
            <${Er} src="${u}/image" caption="Control image" of=${t} />
            ${n!=="none"&&o&&a`<${Er} src="${u}/map" caption="Map by ${n}" of=${t} />`}
          </div>
        </li>`})}
    </ul>
  </section>`:null}function Er({src:e,caption:t,of:n}){let[o,r]=g(!1);return a`<figure>
    ${o?a`<p class="muted">gone: its time is over</p>`:a`<a href=${e} target="_blank" rel="noopener"><img src=${e} alt="${t} of ${n}" onError=${()=>r(!0)} /></a>`}
    <figcaption class="muted">${t}</figcaption>
  </figure>`}function Rr({job:e}){let{request:t}=e,n=t.seeds??Array.from({length:t.num_images},(r,i)=>t.seed+i),o=[["Model",t.model],["Size",t.width?`${t.width} × ${t.height}`:"the model's own"],["Steps",`${na(t)}, ${t.scheduler}`],["Guidance scale",t.guidance_scale],[n.length>1?"Seeds":"Seed",n.join(", ")],["ControlNets",t.controlnets.map(({name:r,conditioning_scale:i})=>`${r} × ${i}`).join(", ")],["LoRAs",t.loras.map(({name:r,scale:i})=>`${r} × ${typeof i=="number"?i:JSON.stringify(i)}`).join(", ")],["File format",t.output_format+(t.output_quality?`, quality ${t.output_quality}`:"")],["Priority",e.priority],["Deadline",e.deadline_s===null?"":B(e.deadline_s)],["Submitted",er(e.created_at)],["Waited",Tr(e.created_at,e.started_at)],["Took",Tr(e.started_at,e.finished_at)]];return a`<dl class="facts">
    ${o.filter(([,r])=>r!==""&&r!==null&&r!==void 0).map(([r,i])=>a`<div key=${r}><dt>${r}</dt><dd>${i}</dd></div>`)}
    <${ta} job=${e} />
  </dl>`}function ta({job:e}){let{data:t}=ye("v1/webhooks/default/deliveries?limit=200"),n=(t?.deliveries??[]).filter(r=>r.job_id===e.id);if(!n.length)return null;let o=Map.groupBy?[...Map.groupBy(n,({status:r})=>r)].map(([r,i])=>`${i.length} ${r}`):[];return a`<div>
    <dt>Webhook</dt>
    <dd><a href=${E("webhooks","",{webhook:"default"})}>${o.join(", ")||n.length}</a></dd>
  </div>`}function na({timesteps:e,sigmas:t,num_inference_steps:n}){return e?.length??(t?t.length-1:n)}function Tr(e,t){return e&&t?B((Date.parse(t)-Date.parse(e))/1e3):""}function Or({job:e}){let[t,n]=g(0),[o,r]=g(null),i=e.images.length,s=p=>n(c=>(c+p+i)%i);ra(i>1?s:null);let l=e.images[t],u=`image ${t+1} of ${i}`;return a`<figure class="viewer">
    <div class="viewer-image">
      ${o===t?a`<p class="muted">The file of this image is gone: its time is over.</p>`:a`<img key=${t} src=${H(e.id,t)} width=${l.width} height=${l.height} alt="Generated ${u}: ${e.request.prompt}" onError=${()=>r(t)} />`}
    </div>
    <figcaption class="viewer-bar">
      ${i>1&&a`<div class="row">
        <button type="button" class="button button-small" aria-label="Previous image" aria-keyshortcuts="ArrowLeft" onClick=${()=>s(-1)}>←</button>
        <span aria-live="polite">Image ${t+1} of ${i}</span>
        <button type="button" class="button button-small" aria-label="Next image" aria-keyshortcuts="ArrowRight" onClick=${()=>s(1)}>→</button>
      </div>`}
      <span class="muted">${l.width} × ${l.height} · seed ${l.seed}</span>
      <div class="row viewer-actions">
        <a class="button button-small" href=${H(e.id,t)} download=${oa(e,t)}>Download</a>
        ${i>1&&a`<a class="button button-small" href="v1/jobs/${e.id}/images.zip" download="${e.id}.zip">All as zip</a>`}
        <a class="button button-small" href=${E("gallery","",{verify:`${e.id}-${t}`})}>Verify</a>
      </div>
    </figcaption>
    ${i>1&&a`<ul class="viewer-strip" aria-label="Images of the job">
      ${e.images.map((p,c)=>a`<li key=${c}>
          <button type="button" aria-label="Show image ${c+1}" aria-current=${c===t?"true":void 0} onClick=${()=>n(c)}>
            <img src=${H(e.id,c)} width=${p.width} height=${p.height} alt="" loading="lazy" />
          </button>
        </li>`)}
    </ul>`}
  </figure>`}function oa(e,t){return`${e.id}-${t}.${e.images[t].content_type.split("/")[1]}`}function ra(e){lt(()=>{if(!e)return;let t=n=>{let o={ArrowLeft:-1,ArrowRight:1}[n.key];!o||n.ctrlKey||n.metaKey||n.altKey||n.defaultPrevented||n.target.closest?.("input, textarea, select, pre, .chart-scroll, .timeline-table, dialog")||e(o)};return addEventListener("keydown",t),()=>removeEventListener("keydown",t)},[e!==null])}var ia=2e3;function Pr({text:e,label:t="Copy"}){let[n,o]=g(!1);return v(()=>{let i=n&&setTimeout(()=>o(!1),ia);return()=>clearTimeout(i)},[n]),a`<button type="button" class="button button-small" onClick=${async()=>{await sa(typeof e=="function"?e():e)?o(!0):I("The browser did not copy the text: select it and copy it yourself.","bad")}}>
    <span aria-live="polite">${n?"Copied":t}</span>
  </button>`}async function sa(e){try{return await navigator.clipboard.writeText(e),!0}catch{return aa(e)}}function aa(e){let t=document.createElement("textarea");t.value=e,t.className="visually-hidden",document.body.append(t),t.select();let n=document.execCommand("copy");return t.remove(),n}var la=["split_steps","control_map","etag","size_bytes","key"],dn={guess_mode:!1,long_prompt:"truncate",prompt_syntax:"plain",guidance_rescale:0,eta:0,residual_precision:"exact",latent_parallelism:"auto",output_format:"png",crops_coords_top_left:[0,0],negative_crops_coords_top_left:[0,0],preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1,lora_loading:{mode:"bounded"},controlnets:[],loras:[],num_images:1};function Ir(e){let{seed:t,num_images:n,num_inference_steps:o,...r}=e.request,i=mn(r);!r.timesteps&&!r.sigmas&&(i.num_inference_steps=o),r.seeds||Object.assign(i,{seed:t},ln(n)>1?{num_images:n}:{});for(let s of["image","mask_image"])i[s]&&(i[s]=Lr(i[s]));return i.controlnets&&(i.controlnets=r.controlnets.map(s=>({...mn(s),image:Lr(s.image)}))),i.loras&&(i.loras=r.loras.map(({name:s,scale:l})=>({name:s,scale:l}))),e.priority!=="normal"&&(i.priority=e.priority),e.deadline_s!==null&&(i.deadline_s=e.deadline_s),i}function Mr(e,{address:t,isKeyed:n}){let o=[`curl -sS ${Ar(t)}`,"-H 'Content-Type: application/json'"];return n&&o.push('-H "Authorization: Bearer $SWIFT_API_KEY"'),o.push(`--data-binary ${Ar(JSON.stringify(e,null,2))}`),o.join(` \\
  `)}function Ar(e){return`'${e.replaceAll("'","'\\''")}'`}function mn(e){let t=Object.entries(e).filter(([n,o])=>o!==null&&!la.includes(n)&&!ua(n,o));return Object.fromEntries(t.map(([n,o])=>[n,n==="lora_loading"?mn(o):o]))}function ua(e,t){if(!(e in dn))return!1;let n=typeof dn[e]=="number"?ln(t):t;return Nr(n)===Nr(dn[e])}function Nr(e){return JSON.stringify(e,(t,n)=>n===null?void 0:n)}function Lr(e){return`sha256:${e}`}function qr(e,t){let[n,o]=g(null);return v(()=>{let r=new AbortController;return fetch(`v1/jobs/${encodeURIComponent(e)}`,{signal:r.signal}).then(async i=>i.ok&&o(bt(await i.text()))).catch(()=>{}),()=>r.abort()},[e,t]),n}function Dr({exact:e}){let t=new URL("v1/jobs",document.baseURI).href,n=Mr(Ir(e),{address:t,isKeyed:K.value?.auth==="keys"});return a`<${Ur} title="Request as curl" label="curl command" text=${n} />`}function Fr({exact:e}){let t=JSON.stringify(e.receipt,null,2);return a`<${Ur} title="Receipt" label="Receipt" text=${t}>
    <button type="button" class="button button-small" onClick=${()=>ca(t,`${e.id}-receipt.json`)}>Download</button>
  </>`}function Ur({title:e,label:t,text:n,children:o}){return a`<section class="card stack">
    <div class="panel-header">
      <h2>${e}</h2>
      <div class="row">${o}<${Pr} text=${n} /></div>
    </div>
    <pre class="panel-text" tabindex="0" role="region" aria-label=${t}>${n}</pre>
  </section>`}function ca(e,t){let n=document.createElement("a");n.href=URL.createObjectURL(new Blob([e],{type:"application/json"})),n.download=t,n.click(),setTimeout(()=>URL.revokeObjectURL(n.href),0)}function Wr(e){let t=[...e].sort((o,r)=>o.start_s-r.start_s),n=new Map;for(let o of new Set(t.map(r=>r.worker))){let r=t.filter(i=>i.worker===o);for(let i of[...new Set(r.map(jr))].sort((s,l)=>Jr(s)-Jr(l))){let s=r.filter(u=>jr(u)===i),l=![...n.keys()].some(u=>u.startsWith(`${o}/`));n.set(`${o}/${i}`,{name:fa(Xe(o),i,l),isFirst:l,rows:pa(s)})}}return[...n.values()]}function Br(e){let t=new Map;for(let n of[...e].sort((o,r)=>o.start_s-r.start_s)){let o=t.get(n.name)??{name:n.name,seconds:0,count:0,counts:{}};o.seconds+=n.end_s-n.start_s,o.count+=1;for(let[r,i]of Object.entries(n.counts??{}))o.counts[r]=(o.counts[r]??0)+i;t.set(n.name,o)}return[...t.values()]}function Gr(e,t){if(!(e>0))return[0];let n=e/Math.max(1,t),o=10**Math.floor(Math.log10(n)),r=[1,2,5,10].map(i=>i*o).find(i=>i>=n);return Array.from({length:Math.floor(e/r+1e-9)+1},(i,s)=>s*r)}function Xe(e){return e.replace(/@\S*/,"")}function fa(e,t,n){return n?t?`${e} · ${t.replace(/^(controlnet|lora) /,"")}`:e:t}function jr({name:e}){return e.startsWith("wait")?"waits":e.startsWith("controlnet ")?e:e.match(/^(lora .*?)(?: from \w+| parse| prepare)$/)?.[1]??(e.startsWith("lora ")?e:"")}function Jr(e){return e===""?0:e==="waits"?1:e.startsWith("controlnet ")?2:3}function pa(e){let t=[];for(let n of e){let o=t.find(r=>r.at(-1).end_s<=n.start_s);o?o.push(n):t.push([n])}return t}function Rt(e){let t=Object.entries(e.counts??{}).map(([n,o])=>`, ${n.replaceAll("_"," ")} ${o.toLocaleString()}`);return`${e.name} on ${Xe(e.worker)}: ${Ye(e.start_s)} to ${Ye(e.end_s)}, ${hn(e)}${t.join("")}`}function Ye(e){return`${e.toFixed(3)} s`}function hn({start_s:e,end_s:t}){let n=t-e;return n<1?`${(1e3*n).toFixed(n<.1?1:0)} ms`:`${n.toFixed(2)} s`}var Hr=20,da=16,Ze=8,$n=24,ma=72,ha=1.5,$a=28,_a=2,ga=96;function Vr({lanes:e,colourOf:t,zoom:n,width:o,onShow:r}){let i=Math.min(180,Math.max(112,Math.round(o*.2))),s=Math.max(ga,o-i-_a)*n,l=ba(e),u=Math.max(...l.map(({span:h})=>h.end_s),.001),p=h=>h/u*(s-$a),c=l.at(-1).y+Hr+Ze/2,[m,d]=g(0),f=R(null),$=wa(s),w=h=>{let S=ya(l,m,h.key);S!==void 0&&(h.preventDefault(),h.stopPropagation(),d(S),f.current.querySelector(`[data-bar="${S}"]`).focus())};return a`<div class="chart">
    <div class="chart-lanes" aria-hidden="true" style=${{width:`${i}px`,height:`${c}px`}}>
      ${l.filter(h=>h.lane).map(({y:h,lane:S})=>a`<p class=${S.isFirst?"chart-worker":"chart-part"} style=${{top:`${h}px`}} title=${S.name}>${S.name}</p>`)}
    </div>
    <div ref=${$} class="chart-scroll" tabindex="0" role="region" aria-label="Timeline, scrolls sideways">
      <svg ref=${f} width=${s} height=${c} role="group" aria-label="Timeline of the job, in seconds" onKeyDown=${w} onMouseLeave=${()=>r(null)}>
        <${va} x=${p} end=${u} count=${Math.floor(s/ma)} height=${c} />
        ${l.filter(h=>h.lane&&h.y>$n+Ze).map(({y:h})=>a`<line class="chart-divider" x1="0" x2=${s} y1=${h-Ze/2} y2=${h-Ze/2} />`)}
        ${l.map(({span:h,y:S},_)=>a`<rect
            key=${_} data-bar=${_} class="bar ${t(h.name)}" role="img" aria-label=${Rt(h)} tabindex=${_===m?"0":"-1"}
            x=${p(h.start_s)} y=${S} height=${da} width=${Math.max(ha,p(h.end_s)-p(h.start_s))}
            onMouseEnter=${()=>r(h)} onFocus=${()=>(d(_),r(h))} onClick=${()=>r(h)}
          />`)}
      </svg>
    </div>
  </div>`}function va({x:e,end:t,count:n,height:o}){let r=Gr(t,n),i=r.length>1?Math.max(0,Math.ceil(-Math.log10(r[1])-1e-9)):0;return a`<g class="chart-axis" aria-hidden="true">
    ${r.map((s,l)=>a`<line x1=${e(s)} x2=${e(s)} y1=${$n-6} y2=${o} />
        <text x=${e(s)} y="12" text-anchor=${l?"middle":"start"}>${s.toFixed(i)} s</text>`)}
  </g>`}function ba(e){let t=[],n=$n;for(let o of e)o.rows.forEach((r,i)=>{r.forEach((s,l)=>t.push({span:s,y:n,lane:i===0&&l===0?o:null})),n+=Hr}),n+=Ze;return t}function ya(e,t,n){let{y:o,span:r}=e[t],i=e.map((c,m)=>({...c,i:m})).filter(c=>c.y===o),s=i.findIndex(c=>c.i===t);if(n==="ArrowLeft")return i[Math.max(0,s-1)].i;if(n==="ArrowRight")return i[Math.min(i.length-1,s+1)].i;if(n==="Home")return i[0].i;if(n==="End")return i.at(-1).i;if(n!=="ArrowUp"&&n!=="ArrowDown")return;let l=[...new Set(e.map(c=>c.y))],u=l[l.indexOf(o)+(n==="ArrowUp"?-1:1)]??o,p=c=>Math.abs(c.span.start_s-r.start_s);return e.map((c,m)=>({...c,i:m})).filter(c=>c.y===u).sort((c,m)=>p(c)-p(m))[0].i}function wa(e){let t=R(null),n=R(e);return lt(()=>{let{scrollLeft:o,clientWidth:r}=t.current;t.current.scrollLeft=(o+r/2)*e/n.current-r/2,n.current=e},[e]),t}var Qe=[1,2,4,8,16,32],xa=12;function Kr({timeline:e}){let[t,n]=g(1),o=je(null),r=W(()=>Wr(e),[e]),i=W(()=>Br(e),[e]),s=W(()=>Ta(i),[i]),[l,u]=Ra();if(!e.length)return a`<${z} title="No timeline yet">It is there when the job has ended.</>`;let p=c=>n(Qe[Math.min(Qe.length-1,Math.max(0,Qe.indexOf(t)+c))]);return a`<div class="timeline">
    <div class="timeline-bar">
      <${Sa} shown=${o} colourOf=${s} timeline=${e} />
      <div class="row" role="group" aria-label="Zoom">
        <button type="button" class="button button-small" disabled=${t===Qe[0]} onClick=${()=>p(-1)} aria-label="Zoom out">−</button>
        <button type="button" class="button button-small" disabled=${t===1} onClick=${()=>n(1)}>Fit</button>
        <button type="button" class="button button-small" disabled=${t===Qe.at(-1)} onClick=${()=>p(1)} aria-label="Zoom in">+</button>
      </div>
    </div>
    <div ref=${l}>
      ${u>0&&a`<${Vr} lanes=${r} colourOf=${s} zoom=${t} width=${u} onShow=${c=>o.value=c} />`}
    </div>
    <${ka} names=${i} colourOf=${s} shown=${o} />
    <${Ea} timeline=${e} />
  </div>`}function Sa({shown:e,colourOf:t,timeline:n}){let o=e.value;return o===null?a`<p class="timeline-shown">${Ca(n)}</p>`:a`<p class="timeline-shown">
    <span class="swatch ${t(o.name)}"></span><strong>${o.name}</strong>${Rt(o).slice(o.name.length)}
  </p>`}function ka({names:e,colourOf:t,shown:n}){return a`<ul class="timeline-legend" aria-label="Legend: time by kind">
    ${e.map(({name:o,seconds:r,count:i})=>a`<li key=${o} class=${o===n.value?.name?"legend-shown":""}>
        <span class="swatch ${t(o)}"></span>${o}
        <span class="muted">${B(r)}${i>1?` in ${i}`:""}</span>
      </li>`)}
  </ul>`}function Ea({timeline:e}){let[t,n]=g(!1);return a`<details onToggle=${o=>n(o.target.open)}>
    <summary>The same as a table: ${oe(e.length,"span")}</summary>
    ${t&&a`<div class="table-box timeline-table" tabindex="0" role="region" aria-label="Spans of the timeline">
      <table class="table">
        <caption class="visually-hidden">Spans of the timeline, by their start</caption>
        <thead>
          <tr>${["What","Worker","From","To","Time"].map((o,r)=>a`<th scope="col" class=${r>1?"cell-end":""}>${o}</th>`)}</tr>
        </thead>
        <tbody>
          ${[...e].sort((o,r)=>o.start_s-r.start_s).map(o=>a`<tr>
              <th scope="row" data-label="What">${o.name}</th>
              <td data-label="Worker">${Xe(o.worker)}</td>
              <td class="cell-end" data-label="From">${Ye(o.start_s)}</td>
              <td class="cell-end" data-label="To">${Ye(o.end_s)}</td>
              <td class="cell-end" data-label="Time">${hn(o)}</td>
            </tr>`)}
        </tbody>
      </table>
    </div>`}
  </details>`}function Ca(e){let t=Math.max(...e.map(n=>n.end_s));return a`<span class="muted">${B(t)} since the job was accepted. Point at a bar, or move with the arrow keys, for its times.</span>`}function Ta(e){let t=e.filter(({name:n})=>!zr(n)).map(({name:n})=>n);return n=>zr(n)?"span-idle":`span-${t.indexOf(n)%xa}`}function zr(e){return e==="queued"||e.startsWith("wait")}function Ra(){let e=R(null),[t,n]=g(0);return v(()=>{if(!e.current)return;let o=0,r=new ResizeObserver(([i])=>{cancelAnimationFrame(o),o=requestAnimationFrame(()=>n(Math.floor(i.contentRect.width)))});return r.observe(e.current),()=>{cancelAnimationFrame(o),r.disconnect()}},[]),[e,t]}function Xr({arg:e}){let{job:t,error:n,reload:o}=kt(e),r=qr(e,t?.status);if(t===null)return a`<${M} title="Job">${n&&a`<${Aa} error=${n} onRetry=${o} />`}</>`;let i=a`<${kr} job=${t} exact=${r} onChange=${o} />`;return a`<${M} title="Job ${t.id}" actions=${i} className="job">
    <div class="job-head">
      <span aria-live="polite"><${Oe} status=${t.status} /></span>
      <p class="job-prompt">${t.request.prompt||a`<span class="muted">without a prompt</span>`}</p>
      ${t.request.negative_prompt&&a`<p class="muted">without: ${t.request.negative_prompt}</p>`}
    </div>
    <${Pa} job=${t} />
    <div class="job-top">
      <section class="card" aria-label="Images">${Oa(t)}</section>
      <section class="card" aria-label="Facts"><${Rr} job=${t} /></section>
    </div>
    <${Cr} job=${t} />
    ${!j(t.status)&&a`<section class="card stack"><h2>Timeline</h2><${Kr} timeline=${t.timeline} /></section>`}
    ${r&&a`<div class="job-records">
      ${r.receipt&&a`<${Fr} exact=${r} />`}
      <${Dr} exact=${r} />
    </div>`}
  </>`}function Oa(e){return j(e.status)?a`<${St} job=${e} />`:e.images.length?a`<${Or} job=${e} />`:a`<${z} title="No image">The job ${e.status==="failed"?"has failed":"was cancelled"} before it had one.</>`}function Pa({job:e}){return!e.error&&!e.warnings.length?null:a`<div class="stack">
    ${e.error&&a`<div class="notice notice-bad"><p><strong>Failed: <code>${e.error.code}</code></strong></p><p>${e.error.detail}</p></div>`}
    ${e.warnings.length>0&&a`<div class="notice notice-warn">
      <p><strong>${e.warnings.length>1?"Warnings":"Warning"}</strong></p>
      <ul>${e.warnings.map(t=>a`<li key=${t}>${t}</li>`)}</ul>
    </div>`}
  </div>`}function Aa({error:e,onRetry:t}){return e.status!==404?a`<${fe} error=${e} onRetry=${t} />`:a`<${z} title="There is no such job">
    <p>It was deleted, its time is over, or it is another tenant's.</p>
    <p>See the <a href=${E("queue")}>queue</a> or the <a href=${E("gallery")}>gallery</a>.</p>
  </>`}function Yr(){let[e,t]=g(""),[n,o]=g(null),[r,i]=g(!1);return a`<main class="alone">
    <form class="login" onSubmit=${async l=>{l.preventDefault(),i(!0),o(null);try{await wo(e.trim())}catch(u){o(u.retryAfterS?`${u.detail}; try again in ${u.retryAfterS} s`:u.detail),i(!1)}}}>
      <h1>swiftdiffusion</h1>
      <${q}
        label="API key" error=${n}
        hint="It is sent once; a cookie of this browser takes its place. The first key is shown when the fleet starts."
      >
        <input
          type="password" value=${e} autocomplete="current-password" spellcheck=${!1} required autofocus
          placeholder="swk_…" onInput=${l=>t(l.target.value)}
        />
      </>
      <button type="submit" class="button button-primary" disabled=${r||!e.trim()}>Log in</button>
    </form>
  </main>`}function Zr(){return a`<${M} title="LoRAs" />`}var Na=6,La=200,Ia=5,Z=x(null);async function _n(e,{title:t,text:n,label:o}){let r;try{r=await qa(e)}catch(s){I(`The jobs could not be listed: ${s.detail}`,"bad");return}if(!r.length){I("There is no such job any more.");return}await ht({title:t(oe(r.length,"job")),text:n,label:o(r.length),isDangerous:!0})&&await gn(r)}async function gn(e){Z.value={done:0,count:e.length,failures:[],isOver:!1};let t=[...e],n=async()=>{for(let o=t.shift();o!==void 0;o=t.shift()){let r=await Ma(o),{done:i,failures:s}=Z.value;Z.value={...Z.value,done:i+1,failures:r?[...s,{id:o,detail:r}]:s}}};await Promise.all(Array.from({length:Na},n)),Z.value={...Z.value,isOver:!0}}async function Ma(e){for(let t=1;;t+=1)try{return await k(`v1/jobs/${e}/cancel`,{method:"POST"}),null}catch(n){if(n.status===404)return null;if(!((n.status===429||n.status===503)&&t<Ia))return n.detail??String(n);await new Promise(r=>setTimeout(r,1e3*Math.min(n.retryAfterS||1,30)))}}async function qa(e){let t=[];for(let n of e){let o="";do{let r=await k(`v1/jobs?status=${n}&limit=${La}&fields=id${o&&`&cursor=${o}`}`);t.push(...r.jobs.map(({id:i})=>i)),o=r.next_cursor}while(o)}return t}var Da="created_at,started_at,finished_at,queue_position,progress,model,prompt,priority,estimate,error,tenant",Fa=200,Ua=1e3,ja=300,Ja={active:["running","queued"],all:[null]};function Qr(e,t){let n=Ja[e]??[e],o={rows:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},r=new Map,i=[],s=new Set,l=null,u=b=>n.includes(null)||n.includes(b.status),p=()=>{let b=e==="active"?Ba:vn;o.rows.value=[...r.values()].sort((y,O)=>b(y.peek(),O.peek())),o.hasOlder.value=i.some(({cursor:y})=>y!==null)},c=b=>{r.has(b.id)?r.get(b.id).value=b:r.set(b.id,x(b))},m=async(b,y)=>{let O=new URLSearchParams({limit:Fa,fields:Da});return b&&O.set("status",b),y&&O.set("cursor",y),t==="all"&&O.set("tenants","all"),k(`v1/jobs?${O}`)},d=async()=>{try{let b=[],y=[];for(let O of n){let T={next_cursor:null},J=0;do T=await m(O,T.next_cursor),b.push(...T.jobs),J+=T.jobs.length;while(O==="queued"&&e==="active"&&T.next_cursor&&J<Ua);y.push({status:O,cursor:T.next_cursor})}_e(()=>{let O=new Set(b.map(({id:T})=>T));for(let T of r.keys())O.has(T)||r.delete(T);b.forEach(c),i=y,o.error.value=null,p()})}catch(b){o.error.value=b}o.isLoaded.value=!0},f=async()=>{let b=[];for(let{status:y,cursor:O}of i){let T=O===null?{jobs:[],next_cursor:null}:await m(y,O);T.jobs.forEach(c),b.push({status:y,cursor:T.next_cursor})}i=b,p()},$=async()=>{l=null;let b=new Set(s);s.clear();try{let{jobs:y,next_cursor:O}=await m(null,null),T=y.filter(({id:J})=>b.has(J));if(T.length<b.size&&O!==null)return await d();_e(()=>{for(let J of b)r.delete(J);T.filter(u).forEach(c),p()})}catch(y){o.error.value=y}},w=b=>{s.add(b),l??=setTimeout($,ja)},h=({job:b,status:y,at:O})=>{let T=r.get(b);if(!T||y==="queued"||y==="failed")return w(b);let J=T.peek();return _e(()=>{let Q=y==="running"?new Date(O*1e3).toISOString():J.started_at;T.value={...J,status:y,started_at:Q,queue_position:null},J.status==="queued"&&Wa(r,J),u(T.peek())||r.delete(b),p()})},S=({job:b,step:y,total:O})=>{let T=r.get(b);T&&(T.value={...T.peek(),progress:{step:y,total:O}})};return{...o,start:()=>{let b=[F("reset",d),F("status",h),F("progress",S)];d();let y=t==="all"&&setInterval(()=>document.hidden||d(),4e3);return()=>{b.forEach(O=>O()),clearTimeout(l),clearInterval(y)}},load:d,loadOlder:f}}function Wa(e,t){for(let n of e.values()){let o=n.peek();o.status==="queued"&&o.tenant===t.tenant&&o.queue_position>t.queue_position&&(n.value={...o,queue_position:o.queue_position-1})}}function Ba(e,t){return e.status!==t.status?e.status==="running"?-1:1:e.status==="running"?vn(e,t):(e.queue_position??1/0)-(t.queue_position??1/0)||-vn(e,t)}function vn(e,t){return e.created_at<t.created_at?1:e.created_at>t.created_at?-1:e.id<t.id?1:-1}function ei({rows:e,tenant:t,showsTenant:n}){let o=je(Date.now());v(()=>{let i=setInterval(()=>o.value=Date.now(),1e3);return()=>clearInterval(i)},[]);let r=["Job","Status",...n?["Tenant"]:[],"Priority","Place","Progress","Done in","Age"];return a`<div class="table-box queue-box">
    <table class="table queue">
      <caption class="visually-hidden">Jobs</caption>
      <thead>
        <tr>
          ${r.map(i=>a`<th scope="col" key=${i} class="queue-${i.toLowerCase().replace(" ","-")}">${i}</th>`)}
          <th scope="col"><span class="visually-hidden">Cancel</span></th>
        </tr>
      </thead>
      <tbody>
        ${e.value.map(i=>a`<${Ga} key=${i.peek().id} job=${i} now=${o} tenant=${t} showsTenant=${n} />`)}
      </tbody>
    </table>
  </div>`}function Ga({job:e,now:t,tenant:n,showsTenant:o}){let r=e.value,i=r.tenant===n,{step:s,total:l}=r.progress,u=r.prompt||"without a prompt",p=Gt(()=>ti((t.value-Date.parse(e.value.created_at))/1e3)),c=Gt(()=>Ha(e.value,t.value));return a`<tr>
    <th scope="row" data-label="Job">
      <div class="queue-name">
        ${i?a`<a href=${E("job",r.id)} title=${u}>${u}</a>`:a`<span title=${u}>${u}</span>`}
        <span class="muted">${r.model}</span>
      </div>
    </th>
    <td data-label="Status"><span title=${r.error?.detail}><${Oe} status=${r.status} /></span></td>
    ${o&&a`<td data-label="Tenant">${r.tenant}</td>`}
    <td data-label="Priority" class=${r.priority==="normal"?"muted":""}>${r.priority}</td>
    <td data-label="Place">${r.queue_position??"–"}</td>
    <td data-label="Progress" class="queue-progress">
      ${r.status==="running"?a`<${pe} label="Progress of ${u}" value=${l?s:null} max=${l} text=${l?`${s}/${l}`:""} />`:Va(r)}
    </td>
    <td data-label="Done in">${c}</td>
    <td data-label="Age">${p}</td>
    <td class="queue-actions">
      ${i&&j(r.status)&&a`<button type="button" class="button button-small" aria-label="Cancel ${u}" onClick=${()=>Te(r.id)}>Cancel</button>`}
    </td>
  </tr>`}function Ha(e,t){if(!j(e.status))return"–";let n=xt(e,t);return n!==null?`≈ ${ti(n)}`:e.estimate?.eta_s==null?"unknown":"later than estimated"}function ti(e){return e<10?`${Math.max(0,Math.round(e))} s`:B(e)}function Va({status:e,progress:{step:t,total:n}}){return e!=="queued"&&n&&t<n?a`<span class="muted">${t}/${n}</span>`:a`<span class="muted">–</span>`}var ni=[["active","waiting and running"],["all","all"],["queued","queued"],["running","running"],["succeeded","succeeded"],["failed","failed"],["cancelled","cancelled"]];function oi({query:e}){let t=ni.some(([s])=>s===e.status)?e.status:"active",n=K.value.auth==="keys"&&Ge("admin"),o=n&&e.tenants==="all"?"all":"own",r=W(()=>Qr(t,o),[t,o]);v(()=>r.start(),[r]);let i=s=>ne("queue","",{status:t,tenants:o,...s});return a`<${M} title="Queue" actions=${a`<${Ya} />`}>
    <div class="queue-filters">
      <${q} label="Status"><${Y} options=${ni} value=${t} onChange=${s=>i({status:s})} /></>
      ${n&&a`<${q} label="Tenants">
        <${Y} options=${[["own","mine"],["all","all"]]} value=${o} onChange=${s=>i({tenants:s})} />
      </>`}
      <${za} queue=${r} />
    </div>
    <${Za} />
    <${Ka} queue=${r} filter=${t} showsTenant=${o==="all"} />
  </>`}function za({queue:e}){let{rows:t,hasOlder:n,isLoaded:o}=e;return a`<p class="muted queue-count" aria-live="polite">
    ${o.value?`${oe(t.value.length,"job")}${n.value?", and older ones":""}`:""}
  </p>`}function Ka({queue:e,filter:t,showsTenant:n}){let[o,r]=g(!1),{rows:i,isLoaded:s,error:l,hasOlder:u,load:p,loadOlder:c}=e;if(!s.value)return a`<p class="muted" aria-busy="true">Reading the jobs …</p>`;if(l.value&&!i.value.length)return a`<${fe} error=${l.value} onRetry=${p} />`;if(!i.value.length)return a`<${Xa} filter=${t} />`;let m=async()=>{r(!0),await c().catch(d=>I(d.detail,"bad")),r(!1)};return a`
    <${ei} rows=${i} tenant=${K.value.tenant} showsTenant=${n} />
    ${u.value&&a`<p class="queue-older"><button type="button" class="button" disabled=${o} onClick=${m}>Show older jobs</button></p>`}
  `}function Xa({filter:e}){return e!=="active"?a`<${z} title=${e==="all"?"No jobs":`No job is ${e}`}>Jobs are kept for a while after their end.</>`:a`<${z} title="Nothing waits, nothing runs">
    <a href=${E("generate")}>Generate an image</a>, or look at <a href=${E("queue","",{status:"all"})}>earlier jobs</a>.
  </>`}function Ya(){let e=Z.value!==null&&!Z.value.isOver;return a`
    <button type="button" class="button" disabled=${e} onClick=${()=>_n(["queued"],{title:o=>`Cancel ${o} that wait${o.startsWith("1 ")?"s":""}?`,text:"Jobs of yours that no worker has begun yet are cancelled. Those that run go on.",label:o=>`Cancel ${o}`})}>Cancel all waiting</button>
    <button type="button" class="button button-bad" disabled=${e} onClick=${()=>_n(["queued","running"],{title:o=>`Cancel all of your ${o}?`,text:"Jobs that wait are cancelled at once, running ones within one step. Finished images stay.",label:o=>`Cancel ${o}`})}>Cancel all of mine</button>
  `}function Za(){let e=Z.value;if(e===null)return null;let{done:t,count:n,failures:o,isOver:r}=e,i=()=>Z.value=null;return a`<section class="notice ${o.length?"notice-bad":"notice-ok"}" aria-label="Cancelling" role="status">
    ${r?a`<p><strong>${oe(n-o.length,"job")} cancelled${o.length?`, ${o.length} not`:""}</strong></p>`:a`<${pe} label="Jobs cancelled" value=${t} max=${n} text="${t} / ${n} cancelled" />`}
    ${o.length>0&&a`<ul>
      ${o.map(({id:s,detail:l})=>a`<li key=${s}><a href=${E("job",s)}>${s}</a>: ${l}</li>`)}
    </ul>`}
    ${r&&a`<div class="row">
      ${o.length>0&&a`<button type="button" class="button button-small" onClick=${()=>gn(o.map(({id:s})=>s))}>Try these again</button>`}
      <button type="button" class="button button-small" onClick=${i}>Close</button>
    </div>`}
  </section>`}var ri={generate:{view:Sr,label:"Generate",scope:"jobs"},gallery:{view:rr,label:"Gallery",scope:"jobs"},queue:{view:oi,label:"Queue",scope:"jobs"},job:{view:Xr,scope:"jobs"},loras:{view:Zr,label:"LoRAs",scope:"loras"},fleet:{view:Ao,label:"Fleet",scope:"fleet"},webhooks:{view:Po,label:"Webhooks",scope:"jobs"},tenants:{view:Oo,label:"Tenants",scope:"admin"},keys:{view:Ro,label:"API keys",scope:"admin"}};function ii(){let e=K.value,t=e?.auth==="off"?"off":e?.key_id;if(v(()=>{if(!e||!Ge("jobs"))return;let s=go(),l=F("unauthorized",()=>K.value=null);return fo(),()=>{po(),l(),s()}},[t]),v(()=>{let s=l=>l.preventDefault();for(let l of["dragover","drop"])addEventListener(l,s)},[]),e===void 0)return a`<main class="alone" aria-busy="true"><p class="muted">Connecting to the API …</p></main>`;if(e===null)return a`<${Yr} /><${Yt} />`;let{view:n,arg:o,query:r}=Vt.value,i=ri[n].view;return a`
    <a class="skip" href="#main" onClick=${ol}>Skip to the content</a>
    <div class="shell">
      <${Qa} current=${n} />
      <main id="main" tabindex="-1"><${i} key=${`${n}/${o}`} arg=${o} query=${r} /></main>
    </div>
    <${Yt} /><${oo} /><${ao} />
  `}function Qa({current:e}){let[t,n]=g(!1);v(()=>n(!1),[e]);let o=Object.entries(ri).filter(([,{label:r,scope:i}])=>r&&Ge(i));return a`<header class="sidebar ${t?"sidebar-open":""}">
    <div class="brand">
      <a href=${E("generate")}>swiftdiffusion</a>
      <button
        type="button" class="button menu-button" aria-expanded=${t?"true":"false"} aria-controls="menu"
        onClick=${()=>n(!t)}
      >
        Menu
      </button>
    </div>
    <div class="menu" id="menu">
      <nav aria-label="Views">
        <ul>
          ${o.map(([r,{label:i}])=>a`<li key=${r}>
              <a href=${E(r)} aria-current=${r===e?"page":void 0}>${i}</a>
            </li>`)}
        </ul>
      </nav>
      <div class="sidebar-foot"><${el} /><${tl} /><${nl} /></div>
    </div>
  </header>`}function el(){let{auth:e,tenant:t}=K.value,n=()=>xo().catch(o=>I(o.detail,"bad"));return a`<div class="account">
    <p class="connection connection-${Ee.value}" aria-live="polite">
      ${Ee.value==="open"?"Live":"Connection lost"}
    </p>
    ${e==="keys"&&a`<p class="muted">Tenant <strong>${t}</strong></p>
      <button type="button" class="button button-small" onClick=${n}>Log out</button>`}
  </div>`}function tl(){return a`<fieldset class="segments">
    <legend class="visually-hidden">Colours</legend>
    ${sn.map(e=>a`<label key=${e}>
        <input type="radio" name="theme" value=${e} checked=${an.value===e} onChange=${()=>Eo(e)} />
        <span>${e}</span>
      </label>`)}
  </fieldset>`}function nl(){return a`<p class="help-links">
    <button type="button" class="link-button" onClick=${Xt}>Shortcuts <kbd>?</kbd></button>
    <a href="docs/swagger">API</a>
  </p>`}function ol(e){e.preventDefault(),document.getElementById("main").focus()}ko();io();rn();Nn(a`<${ii} />`,document.getElementById("app"));
